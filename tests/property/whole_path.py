"""The whole path in one process: PLC, driver seam, collector, units, buffer on disk, forwarder, sink seam, broker, consumer.

Everything between the two seams is the agent's own. A kill is a kill: the buffer's files are copied as they are by the thread that writes
them, the tasks are cancelled, and the next life begins with the copy.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

from agent_bench import ManualClock
from flaky_broker import Broker
from scripted_plc import FILLER, TAGS, WEIGHER, Plc

from edge_agent.agent.collect import Collector
from edge_agent.agent.forward import Delivered, Forwarder
from edge_agent.agent.link import Link, keep_open
from edge_agent.agent.unit import Unit
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey

KillPoint = Literal["before_append", "after_append", "before_settle", "after_settle"]
"""Where the process dies: the call never reached the store, or it is done and nobody heard of it."""

_IGNORED = shutil.ignore_patterns("reserve", "lock")


class FailingStore:
    """The real buffer with failpoints: an armed one takes the image of a killed process, and nothing returns any more."""

    def __init__(self, real: SqliteBuffer, folder: Path, image: Path) -> None:
        self._real, self._folder, self._image = real, folder, image
        self.armed: KillPoint | None = None
        self.dead = asyncio.Event()
        self.imaged = asyncio.Event()
        self.gone = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Append, unless the process dies before, or after."""
        await self._pass("before_append")
        custody = await self._real.append(events, checkpoint)
        await self._pass("after_append")
        return custody

    async def settle(self, output: str, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Settle, unless the process dies before, or after."""
        await self._pass("before_settle")
        await self._real.settle(output, delivered, rejected)
        await self._pass("after_settle")

    async def peek(self, output: str, after: RecordKey | None, limit: int, kind: Kind) -> Sequence[Record]:
        """Return what waits; the dead read nothing."""
        records = await self._real.peek(output, after, limit, kind)
        await self._pass(None)
        return records

    async def _pass(self, point: KillPoint | None) -> None:
        if point is not None and self.armed == point and not self.dead.is_set():
            await self.die()
        if self.dead.is_set():
            await self.gone.wait()
            raise StorageError("the process is dead")

    async def die(self) -> None:
        """Take the image, by the thread that writes: what a kill at this moment leaves on the disk."""
        self.dead.set()
        await self._real._ask(lambda *_: shutil.copytree(self._folder, self._image, ignore=_IGNORED))
        self.imaged.set()


class Life:
    """One process of the agent, from start to kill."""

    def __init__(self, plc: Plc, broker: Broker, clock: ManualClock, folder: Path, image: Path) -> None:
        self._plc, self._broker, self._clock, self._folder = plc, broker, clock, folder
        self._image = image
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.store: FailingStore

    async def start(self) -> None:
        """Open the buffer, then the units, then the links, as the supervisor does."""
        config = BufferConfig.model_validate({"path": self._folder, "max_bytes": 8 << 20, "min_free": 0, "commit_interval": "1ms"})
        real = await self._stack.enter_async_context(open_buffer(config))
        store = self.store = FailingStore(real, self._folder, self._image)
        units = [_unit(unit, store, self._clock) for unit in (FILLER, WEIGHER)]
        collector = Collector(["plc1"], {"plc1": [unit.deliver for unit in units]}, self._clock)
        for unit in units:
            unit.effect = collector.acknowledge
            await unit.open()
        forwarder = Forwarder(store, "mqtt", Delivered())
        links = (
            keep_open(Link("plc1", "device"), self._plc.connect, collector.run, collector.lost, _at_once),
            keep_open(Link("broker", "mqtt"), self._broker.connect, forwarder.run, _told, _at_once),
        )
        self._tasks = [asyncio.create_task(work) for work in (*(unit.run() for unit in units), *links)]

    @property
    def dead(self) -> bool:
        """Whether a failpoint has killed it."""
        return self.store.dead.is_set()

    async def until(self, condition: Callable[[], object]) -> bool:
        """Let it work until ``condition`` holds; False when it died before. A part that ends by itself is an error."""
        clock = asyncio.get_running_loop().time
        end = clock() + 20
        while not self.dead and not condition():
            assert clock() < end, "the agent stands still"
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.0003)
        return not self.dead

    async def kill(self) -> None:
        """Die here, if no failpoint has done it, and leave what is on the disk in the folder."""
        if not self.dead:
            await self.store.die()
        await self.store.imaged.wait()
        await self.end()
        shutil.rmtree(self._folder)
        self._image.rename(self._folder)

    async def end(self) -> None:
        """Stop everything without a word."""
        self.store.gone.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()


def _unit(config: UnitConfig, store: FailingStore, clock: ManualClock) -> Unit:
    fold = fold_of(config, devices={"plc1": TAGS})
    return Unit(config.unit, fold, store, clock, prefix="edgeagent", cfg="cfg")  # type: ignore[arg-type]


def _at_once() -> Iterator[float]:
    return itertools.repeat(0.0)


async def _told(_: DisconnectedError) -> None:
    return
