"""The stage of a peer's run: source, broker, subscriber and the peer itself; the way to the broker can be cut and the peer killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from benchmarks.peers.job import HOME, ROOT, Command, Job, Peer
from benchmarks.stage import Agent, Asked, Broker, free_port
from benchmarks.workload import Load

START = 60.0
"""Seconds within which every tag must have arrived."""
_AGAIN = 2.0
"""Seconds after which whoever was killed is started again."""


class Started(Agent):
    """A peer's processes; their figures are those of all of them. Leaves the block killed."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.log = folder / "peer.log"
        self.began = time.time_ns()
        here = {"PYTHONPATH": str(ROOT)} if command.arguments[1:3] == ["-m", "edge_agent"] else {}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command.arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | command.environment | here,
                start_new_session=True,
            )  # fmt: skip

    @property
    def waits(self) -> dict[int, int]:
        """Nanoseconds so far that each of its threads wanted a core and had none."""
        out = {}
        for pid in self.pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    out[int(task.name)] = int((task / "schedstat").read_text().split()[1])
        return out

    def kill(self) -> None:
        """End it as a power failure does, with all its children."""
        for pid in self.pids if self._process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()


class Way:
    """The way from a peer to the broker, which can be cut.

    It opens again only when the subscriber is there: what the broker takes and has nobody to give to would be called lost by the peer.
    """

    def __init__(self, port: int) -> None:
        self.port, self._to = free_port(), port
        self._loop = asyncio.new_event_loop()
        self._links: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def open(self) -> None:
        """Let peers connect."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._links):
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            self._links |= {writer, back}
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            self._links -= {writer, back}

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Hearing(Asked):
    """The subscriber, which can also be asked what did not arrive."""

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return for each running number in this span how many tags have not told it, if any."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {last}\n")
        self._process.stdin.flush()
        return [(number, many) for number, many in self._line()["missing"]]


class Stand:
    """Everything of one run."""

    def __init__(self, peer: Peer, load: Load, folder: Path, stack: contextlib.ExitStack, *, relayed: bool) -> None:
        self.peer, self.load, self.folder = peer, load, folder
        self.broker = stack.enter_context(Broker(folder))
        told = ["benchmarks.peers.listening", "--port", str(self.broker.port), "--peer", peer.key, "--tags", json.dumps(load.names)]
        self.hearing = stack.enter_context(Hearing(*told))
        self.source = stack.enter_context(Asked(*load.program))
        self.way = stack.enter_context(Way(self.broker.port)) if relayed else None
        own = folder / "peer"
        own.mkdir()
        port = self.broker.port if self.way is None else self.way.port
        self._command = peer.write(Job(load, self.source.ready["port"], port, own), HOME)
        self._stack, self._own = stack, own
        self._killed: float | None = None
        self._had = 0
        self.blind: float | None = None
        """Seconds from its being killed to the next sample that it was given."""
        self.start()

    def start(self) -> None:
        """Start the peer, for the first time or after it was killed."""
        self.running = self._stack.enter_context(Started(self._command, self._own))

    def said(self) -> str:
        """Return what it has logged."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self._own.glob("*.log")))

    def settle(self, settle: float) -> None:
        """Wait until every tag has arrived and samples are under way, and then for ``settle`` seconds."""
        self._until(lambda now: now["tags"] >= self.load.tags and now["top"] >= 1)
        time.sleep(settle)

    def _until(self, enough: Any) -> None:
        deadline = time.monotonic() + START
        while not enough(now := self.hearing.ask()):
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self.peer.title}: {now['tags']} of {self.load.tags} tags after {START:g} s\n{self.said()[-2000:]}"
                )
            self.running.cpu  # noqa: B018 - raises when it ended
            time.sleep(0.2)

    def outage(self, seconds: float, *, killed: bool) -> None:
        """Take the broker away for some seconds, with all that it remembers; half-way kill the peer, and start it again 2 s later."""
        assert self.way is not None
        self.way.cut()
        time.sleep(0.3)  # what the broker took it must have passed on
        before = self.hearing.ask()["connected"]
        self.broker.__exit__(None)
        end = time.monotonic() + seconds
        if killed:
            time.sleep(seconds / 2)
            self._kill()
        while time.monotonic() < end:
            self.watch()
            time.sleep(0.1)
        self.broker.__enter__()
        while self.hearing.ask()["connected"] == before:
            time.sleep(0.02)
        self.way.open()

    def _kill(self) -> None:
        """Kill the peer, and start it again as a supervisor would."""
        self.running.kill()
        self._killed, self._had = time.monotonic(), self.source.ask()["produced"]
        time.sleep(_AGAIN)
        self.start()

    def watch(self) -> None:
        """Take note of when a peer that was killed takes samples again."""
        if self._killed is not None and self.blind is None and self.source.ask()["produced"] > self._had:
            self.blind = time.monotonic() - self._killed


@contextlib.contextmanager
def stand(peer: Peer, load: Load, folder: Path, *, relayed: bool = False) -> Iterator[Stand]:
    """Set everything up for one run of a peer."""
    with contextlib.ExitStack() as stack:
        yield Stand(peer, load, folder, stack, relayed=relayed)
