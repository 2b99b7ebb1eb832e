"""Where the books are kept: what the consumer needs of a database, and how its address is read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from edge_agent.consumer.row import Cell
from edge_agent.model.errors import ConfigError

REMEDY = "write sqlite:////var/lib/edge-agent-consumer/books.db or postgresql://user@host/database"


class Database(Protocol):
    """One connection, used by one thread. Every method raises StorageError when the database cannot do it now; then `reopen`."""

    def claim(self, patience: float = ...) -> None:
        """Be the only consumer that writes here, until `close`. Raises TakenError when another one still is after ``patience`` s."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what is written inside, all of it or nothing. When it is left without an error, it is on the disk."""

    def read(self, sql: str, values: Sequence[Cell] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query with ``?`` places."""

    def write(self, sql: str, values: Sequence[Cell] = ()) -> int:
        """Run a statement with ``?`` places and return how many rows it changed."""

    def reopen(self) -> None:
        """Connect anew after an error, with the claim that was held."""

    def close(self) -> None:
        """Let go of it."""


def open_database(url: str, password_file: Path | None = None, *, create: bool = True) -> Database:
    """Return the database at ``url``; ``create``: a file may be made. Raises ConfigError for an address that cannot be meant, StorageError when it cannot be opened."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if parts.netloc or not parts.path.strip("/"):
            raise ConfigError(f"--database {url}: a file is named with three slashes, absolute with four; {REMEDY}")
        from edge_agent.consumer.sqlite import SQLite  # noqa: PLC0415 - each database is loaded where it is wanted

        file = Path(unquote(parts.path[1:]))
        if not create and not file.exists():
            raise ConfigError(f"--database {url}: there is no such file; `edge-agent consume` makes it")
        return SQLite(file)
    if parts.scheme in {"postgresql", "postgres"}:
        if parts.password:
            raise ConfigError(
                "--database: a password in the address stands in the list of processes; put it into a file (chmod 600) and name it "
                "by --password-file, or use a passfile (~/.pgpass) or a certificate"
            )
        try:
            from edge_agent.consumer.postgres import PostgreSQL  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(f"PostgreSQL needs psycopg ({error}); install it with: pip install 'edge-agent[consumer]'") from error
        return PostgreSQL(url, password_file)
    raise ConfigError(f"--database {url}: unknown kind of database; {REMEDY}")
