"""The programs of one measurement: mosquitto, a source, the counting subscriber and the agent, each a process of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 30.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Asked:
    """A program that prints a line of JSON when it is ready, and another one for every line it is given."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ready = self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return dict(json.loads(line))

    def ask(self) -> dict[str, Any]:
        """Return its figures of now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_of(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Broker:
    """mosquitto on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        self._file.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\nset_tcp_nodelay true\n"
            "max_queued_messages 0\nmax_inflight_messages 0\n" + ("user root\n" if os.geteuid() == 0 else "")
        )

    def __enter__(self) -> Self:
        path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if path is None:
            raise SystemExit("the benchmarks need the mosquitto broker (sudo apt-get install mosquitto)")
        self._process = subprocess.Popen([path, "-c", str(self._file)])
        deadline = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return self
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("mosquitto does not listen")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Agent:
    """``edge-agent run``; its figures are those of all its processes. ``profile`` names a file for where its time goes.

    ``root`` is the folder of the sources that are run.
    """

    def __init__(self, config: Path, folder: Path, profile: Path | None = None, root: Path = ROOT) -> None:
        program = ["-m", "edge_agent"] if profile is None else ["-m", "benchmarks.sampled", str(profile)]
        self.log = folder / "agent.log"
        self.began = time.time_ns()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, "run", "-c", str(config), "--log-level", "warning"], cwd=root, stdout=log, stderr=log
            )

    @property
    def pids(self) -> list[int]:
        """The agent and its children."""
        return [self._process.pid, *_children(self._process.pid)]

    @property
    def cpu(self) -> float:
        """Seconds of CPU (user and system) so far, of all its processes."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the agent ended: {self.log.read_text()[-2000:]}")
        return sum(cpu_of(pid) for pid in self.pids)

    @property
    def kept_waiting(self) -> float:
        """Seconds so far that its main thread wanted a core and had none."""
        return waited(self._process.pid)

    @property
    def rss(self) -> int:
        """Bytes of memory now, of all its processes."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in self.pids)

    def look(self) -> None:
        """Begin the profile."""
        self._process.send_signal(signal.SIGUSR2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_of(pid: int) -> float:
    """Return the seconds that a process was on a CPU, all its threads: by the scheduler's clock, which counts ns and not ticks."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    if total:
        return total / 1e9
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def waited(pid: int) -> float:
    """Return the seconds that the main thread of a process was ready to run and others had the cores."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    return found


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(asked: Asked, enough: str, least: int, within: float, agent: Agent | None = None) -> dict[str, Any]:
    """Ask until figure ``enough`` is ``least``; raises RuntimeError when that takes longer than ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        figures = asked.ask()
        if figures[enough] >= least:
            return figures
        if time.monotonic() > deadline:
            said = agent.log.read_text()[-1500:] if agent is not None else ""
            raise RuntimeError(f"{enough} is {figures[enough]} after {within:g} s, {least} were expected\n{said}")
        if agent is not None:
            agent.cpu  # noqa: B018 - raises when it ended
        time.sleep(0.1)


def tags_of(kinds: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Name the tags of a source: ``i`` first, as many as said, then ``f``, numbered through."""
    number = 0
    for kind, many in kinds:
        for _ in range(many):
            yield f"{kind}{number}"
            number += 1
