"""The agent's end of a worker: starts the process, watches it, and starts another one when it ended or stands still."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import structlog

from edge_agent import logs
from edge_agent.agent.backoff import delays
from edge_agent.agent.worker.remote import Remote
from edge_agent.agent.worker.wire import REPORTS, Close, Command, Open, Ping, Pipe, Pong, order, pipe
from edge_agent.drivers import catalog
from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import DeviceWiring, Driver, Identity

_PING: Final = 2.0
"""Machine seconds between two questions whether the worker's loop turns."""
_SILENT: Final = 20.0
"""Machine seconds without a word after which a worker stands still, and is killed."""
_START: Final = 60.0
"""Machine seconds that a worker may take to its first word: a small or busy machine is long about it."""
_WAIT: Final = 20.0
"""Machine seconds that a connection waits for a worker that is being started."""
_CLOSE: Final = 4.0
"""Machine seconds that a driver, and then a worker, gets for its goodbye."""
_LONGEST: Final = 5.0
"""Longest machine seconds from the end of a worker to the next one: its devices are unseen for so long."""
_STEADY: Final = 30.0
"""A worker that lived so long was a working one: the next one is started without much delay."""


class Worker:
    """One child process at a time, for as long as `run` runs. ``name`` is for people."""

    def __init__(self, name: str, *, silent: float = _SILENT) -> None:
        self.name = name
        self.starts = 0
        self.process: asyncio.subprocess.Process | None = None
        self._silent = silent
        self._pipe: Pipe | None = None
        self._up = asyncio.Event()
        self._remotes: dict[int, Remote] = {}
        self._numbers = 0
        self._heard = 0.0
        self._spoken = False
        self._log = structlog.get_logger().bind(worker=name)

    @property
    def pid(self) -> int | None:
        """The process, None while there is none."""
        return self.process.pid if self.process is not None and self._up.is_set() else None

    async def ready(self) -> None:
        """Return when a worker runs."""
        await self._up.wait()

    async def run(self) -> None:
        """Keep a worker running until cancelled; then it closes its connections and ends."""
        waits = self._delays()
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            why = await self._live()
            self._log.error("worker.ended", reason=why, lived_s=round(clock() - began, 1))
            if clock() - began > _STEADY:
                waits = self._delays()
            await asyncio.sleep(next(waits))

    @staticmethod
    def _delays() -> Iterator[float]:
        return delays(random.Random(), longest=_LONGEST)  # noqa: S311 - jitter

    async def _live(self) -> str:
        """Run one process from its start to its end, and return how it ended."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.process = process = await _started(there)
        except OSError as error:
            here.close()
            return f"it cannot be started: {error}"
        finally:
            there.close()
        self.starts += 1
        self._pipe = await pipe(here, REPORTS)
        self._heard, self._spoken = asyncio.get_running_loop().time(), False
        self._up.set()
        watching = asyncio.create_task(self._watch(process))
        try:
            await self._listen(self._pipe)
            return await self._ended(process)
        finally:
            watching.cancel()
            await self._bury(process)

    async def _listen(self, pipe: Pipe) -> None:
        while True:
            try:
                report = await pipe.receive()
            except EOFError:
                return
            self._heard, self._spoken = asyncio.get_running_loop().time(), True
            if not isinstance(report, Pong) and (remote := self._remotes.get(report.number)) is not None:
                remote.report(report)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill a worker whose loop stands still: what it does not read is not declared by anybody else."""
        clock = asyncio.get_running_loop().time
        while True:
            self._send(Ping())
            await asyncio.sleep(min(_PING, self._silent / 4))
            if clock() - self._heard > (self._silent if self._spoken else _START):
                self._log.error("worker.silent", seconds=round(clock() - self._heard, 1))
                process.kill()
                return

    async def _ended(self, process: asyncio.subprocess.Process) -> str:
        try:
            async with asyncio.timeout(_CLOSE):
                code = await process.wait()
        except TimeoutError:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _bury(self, process: asyncio.subprocess.Process) -> None:
        """Close the pipe, which tells a living worker to end, and leave no process behind; everybody who waits for it is told."""
        self._up.clear()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        lost = DisconnectedError(f"worker {self.name} has ended; it is started again")
        for remote in self._remotes.values():
            remote.fail(lost)
            if not remote.closed.done():
                remote.closed.set_result(None)
        try:
            async with asyncio.timeout(_CLOSE):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _send(self, command: Command) -> None:
        if self._pipe is not None:
            self._pipe.send(command)

    @contextlib.asynccontextmanager
    async def connect(
        self, configs: Sequence[Any], wiring: Mapping[str, DeviceWiring], identity: Identity
    ) -> AsyncIterator[Driver]:
        """Open one endpoint in the worker, like `catalog.connect`. Raises as that does, and DisconnectedError while there is no worker."""
        try:
            async with asyncio.timeout(_WAIT):
                await self._up.wait()
        except TimeoutError:
            raise DisconnectedError(f"worker {self.name} does not start") from None
        if self._pipe is None:
            raise DisconnectedError(f"worker {self.name} has just ended; it is started again")
        self._numbers += 1
        number = self._numbers
        remote = self._remotes[number] = Remote(number, self._send, wiring, polls=catalog.polls(configs[0]))
        try:
            self._send(Open(number, order(configs, wiring, identity)))
            await remote.opened
            yield remote
        finally:
            self._send(Close(number))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE):
                    await asyncio.shield(remote.closed)
            del self._remotes[number]


async def _started(there: socket.socket) -> asyncio.subprocess.Process:
    level, style = logs.current()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "edge_agent.agent.worker", str(there.fileno()), level, style,
        pass_fds=[there.fileno()], stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
