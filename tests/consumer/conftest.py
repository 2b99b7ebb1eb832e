"""Databases for the consumer's tests: a SQLite file, and a PostgreSQL cluster of our own where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.consumer.database import Database, open_database
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store

_NOT_ROOT = "nobody"


def _binary(name: str) -> str | None:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)] if Path("/usr/lib/postgresql").exists() else []
    return shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")]))


class Cluster:
    """A PostgreSQL server on a UNIX socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = {"user": _NOT_ROOT, "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        if self._user:
            shutil.chown(folder, _NOT_ROOT, "nogroup")
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", str(folder / "data"), "-U", "mes", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [_binary(name) or name, *arguments], capture_output=True, text=True, cwd=self.folder, check=False, **self._user
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.folder}",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=16MB",
        ]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._server = subprocess.Popen(
                [_binary("postgres") or "postgres", "-D", str(self.folder / "data"), *settings],
                cwd=self.folder, stdout=log, stderr=log, **self._user,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while subprocess.run([_binary("pg_isready") or "", "-h", str(self.folder), "-q"], check=False, cwd=self.folder).returncode:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.05)

    def stop(self, *, hard: bool = False) -> None:
        """Stop the server; ``hard``: as a crash does."""
        if self._server is not None:
            self._server.send_signal(3 if hard else 2)
            self._server.wait(30)
            self._server = None

    def database(self) -> str:
        """Make a database and return its address."""
        self._databases += 1
        name = f"books{self._databases}"
        self._run("createdb", "-h", str(self.folder), "-U", "mes", name)
        return f"postgresql://mes@/{name}?host={self.folder}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a PostgreSQL server; where there is none, say so."""
    if _binary("initdb") is None or _binary("postgres") is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="consumer-pg-"))
    made = Cluster(folder)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)
    folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/books.db"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Give a database with the newest schema."""
    made = open_database(url)
    migrate(made)
    yield made
    made.close()


@pytest.fixture
def store(database: Database) -> Store:
    """Give a store that begins."""
    made = Store(database)
    made.begin()
    return made


@pytest.fixture
def again(database: Database) -> Callable[[], Store]:
    """Return a maker of stores that know only what the database knows: what a restart is."""

    def make() -> Store:
        made = Store(database)
        made.begin()
        return made

    return make
