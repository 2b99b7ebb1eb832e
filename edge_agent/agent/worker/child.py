"""The worker's end: runs drivers as the agent asks, and never anything else. It has no buffer, no broker and no rules."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from edge_agent.agent.worker.wire import (
    Batches,
    Close,
    Closed,
    Command,
    Counted,
    Open,
    Opened,
    Pipe,
    PollAt,
    Pong,
    Read,
    Stored,
    Write,
    Written,
    crossing,
    failure,
    order_of,
)
from edge_agent.drivers import catalog
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import Mark
from edge_agent.ports import DeviceWiring, Driver, PlantClock, PollCounts, Polling

_SOFTWARE: Final = 70
"""Exit code of a worker with a bug (sysexits.h): the agent declares the gap, and starts another one."""

_GOODBYE: Final = 4.0
"""Machine seconds in which the drivers have to be closed once the agent is gone."""


class _Connection:
    """One endpoint: its task, its driver while it is open, and the reads that were asked for."""

    def __init__(self) -> None:
        self.reads: asyncio.Queue[None] = asyncio.Queue()
        self.driver: Driver | None = None
        self.stored: Stored = {}
        self.task: asyncio.Task[None]

    def stored_of(self, device: str) -> Callable[[], tuple[Mark, ...]]:
        """Return the way to ask what is on disk of a device, as of the last Read."""
        return lambda: self.stored.get(device, ())


class Child:
    """Serves one agent over a pipe."""

    def __init__(self, pipe: Pipe, clock: PlantClock) -> None:
        self._pipe, self._clock = pipe, clock
        self._open: dict[int, _Connection] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Do as asked until the agent is gone; then close everything."""
        try:
            while True:
                self._do(await self._pipe.receive())
        except EOFError:
            for connection in self._open.values():
                connection.task.cancel()
            if self._open:
                _, late = await asyncio.wait([connection.task for connection in self._open.values()], timeout=_GOODBYE)
                if late:
                    os._exit(_SOFTWARE)  # the next agent must find the devices free
        finally:
            self._pipe.close()

    def _do(self, command: Command) -> None:
        if isinstance(command, Open):
            connection = self._open[command.number] = _Connection()
            connection.task = asyncio.create_task(self._serve(command, connection))
            return
        if not isinstance(command, Read | PollAt | Write | Close):
            self._pipe.send(Pong())
            for number, connection in self._open.items():
                self._tell_counts(number, connection)
            return
        found = self._open.get(command.number)
        if found is None:
            return  # closed by itself in the meantime; the agent has been told
        if isinstance(command, Read):
            found.stored = command.stored
            found.reads.put_nowait(None)
        elif isinstance(command, PollAt):
            if found.driver is not None:
                found.driver.poll_at(command.time)
        elif isinstance(command, Write):
            task = asyncio.create_task(self._write(command, found))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)
        else:
            found.task.cancel()

    async def _serve(self, asked: Open, connection: _Connection) -> None:
        try:
            await self._read(asked, connection)
        except (DisconnectedError, ConfigError) as error:
            self._pipe.send(failure(asked.number, error))
        except Exception:  # noqa: BLE001 - the log gets the traceback, the agent the end of the process: it declares the gap and starts another
            structlog.get_logger().critical("worker.broken", exc_info=True)
            os._exit(_SOFTWARE)
        finally:
            del self._open[asked.number]
            self._pipe.send(Closed(asked.number))

    async def _read(self, asked: Open, connection: _Connection) -> None:
        order = order_of(asked.order)
        wiring: dict[str, DeviceWiring] = {
            name: msgspec.structs.replace(one, stored=connection.stored_of(name)) for name, one in order.wiring.items()
        }
        connection.stored = {name: one.marks for name, one in order.wiring.items()}
        async with catalog.connect(order.configs, self._clock, wiring, order.identity) as driver:
            connection.driver = driver
            try:
                tags = {name: tuple(tags) for name, tags in driver.tags.items()}
                self._pipe.send(Opened(asked.number, tags, _counts(driver)))
                while True:
                    await connection.reads.get()
                    self._pipe.send(Batches(asked.number, crossing(await driver.read())))
                    await self._pipe.drain()
            except OSError as error:  # the agent is gone; the end of the pipe ends everything
                raise DisconnectedError(f"the agent is gone: {error}") from error
            finally:
                self._tell_counts(asked.number, connection)
                connection.driver = None

    def _tell_counts(self, number: int, connection: _Connection) -> None:
        if connection.driver is not None and (counts := _counts(connection.driver)):
            self._pipe.send(Counted(number, counts))

    async def _write(self, asked: Write, connection: _Connection) -> None:
        answer = Written(asked.number, asked.request)
        try:
            if connection.driver is None:
                raise DisconnectedError("the connection is gone")  # noqa: TRY301 - told like any other
            await connection.driver.acknowledge(asked.device, asked.tag, asked.value)
        except PermissionError as error:
            answer.refused = str(error)
        except DisconnectedError as error:
            answer.lost = str(error) or "lost"
        self._pipe.send(answer)


def _counts(driver: Driver) -> dict[str, PollCounts]:
    """Return what a driver counts of its polls; nothing of one that does not poll."""
    return dict(driver.counts) if isinstance(driver, Polling) else {}
