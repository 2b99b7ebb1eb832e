"""An odd server with counting tags, an agent's link to it, and the judgement: what was produced, what came, what was declared.

Every value of a counting tag says which tag it is of and its number, so a value at the wrong tag, a repeated and a missing one are seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, NamedTuple

from odd_server import URI, OddServer
from odd_tally import TALLY

from edge_agent.agent.backoff import delays
from edge_agent.agent.link import Link, keep_open
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.drivers.opcua.pace import PACE, Pace
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Gap, Notice, TagStatus
from edge_agent.ports import DeviceWiring, Driver

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
INT64 = 8
STRIDE = 100_000
TICK = 0.05
FAST = Pace(keep_alive=0.5, patience=0.5, retry_first=0.1, retry_most=0.2, teardown=0.3)


class WallClock:
    """The plant clock of a real plant."""

    speed = 1.0

    def now(self) -> int:
        return time.time_ns()

    async def sleep_until(self, time_: int) -> None:
        await asyncio.sleep(max(0, (time_ - time.time_ns()) / 1e9))


def config(port: int, tags: Mapping[str, Mapping[str, Any]], **more: Any) -> OpcUaConfig:
    """Return a device called ``plc``."""
    fixed = {"version": 1, "device": "plc", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "allow_insecure": True}
    fast = {"namespace": URI, "sampling": "20ms", "publishing": "50ms"}
    return OpcUaConfig.model_validate(fixed | fast | {"tags": tags} | more)


class Row(NamedTuple):
    """One sample as it came; ``session`` counts the connections, ``time`` is machine time."""

    tag: str
    value: object
    quality: int
    detail: str | None
    session: int
    time: float


class Plant:
    """The server, its counters and what the link brought. ``extra`` are tags that do not count; a test sets them by itself."""

    def __init__(self, counters: int = 20, extra: Mapping[str, Mapping[str, Any]] | None = None, pace: Pace = PACE) -> None:
        self.server = OddServer()
        self.counters = [f"c{number:02}" for number in range(counters)]
        self.pace = pace
        self.count = 0
        self.ticking = True
        self.produced: dict[str, list[int]] = {name: [] for name in self.counters}
        self.rows: list[Row] = []
        self.notices: list[Notice] = []
        self.losses: list[str] = []
        self.sessions = 0
        self.driver: Driver | None = None
        self._extra = dict(extra or {})
        self._news = asyncio.Event()

    def config(self, **more: Any) -> OpcUaConfig:
        """Return the device's configuration."""
        tags = {name: {"node": f"s={name}"} for name in self.counters}
        return config(self.server.port, tags | self._extra, **more)

    def tick(self) -> None:
        """Let every counter count once."""
        self.count += 1
        for number, name in enumerate(self.counters):
            value = number * STRIDE + self.count
            self.produced[name].append(value)
            self.server.value(name, INT64, value)

    async def _run(self) -> None:
        while True:
            if self.ticking:
                self.tick()
            await asyncio.sleep(TICK)

    async def _collect(self, configuration: OpcUaConfig, wiring: DeviceWiring) -> None:
        async def use(driver: Driver) -> None:
            self.sessions += 1
            self.driver = driver
            while True:
                for batch in await driver.read():
                    self._take(batch, driver)

        async def lost(error: DisconnectedError) -> None:
            self.losses.append(str(error))

        await keep_open(
            Link("plc", "device"),
            lambda: connect([configuration], WallClock(), {"plc": wiring}, self.pace),
            use,
            lost,
            lambda: delays(random.Random(1), longest=0.5),
        )

    def _take(self, batch: Batch, driver: Driver) -> None:
        names, now = driver.tags["plc"], time.monotonic()
        self.notices += (*batch.before, *batch.after)
        for row, tag in enumerate(batch.tags):
            name = names[tag].name
            self.rows.append(Row(name, batch.values[row], batch.quality[row], batch.details.get(row), self.sessions, now))
        self._news.set()

    @contextlib.asynccontextmanager
    async def running(self, *, wiring: DeviceWiring | None = None, **more: Any) -> AsyncIterator[Plant]:
        """Start the server, its counters and the link; everything is stopped at the end."""
        await self.server.start()
        self.tick()
        counting = asyncio.create_task(self._run())
        link = asyncio.create_task(self._collect(self.config(**more), wiring or DeviceWiring()))
        try:
            yield self
        finally:
            for task in (counting, link):
                task.cancel()
            ended = await asyncio.gather(counting, link, return_exceptions=True)
            await self.server.stop()
            TALLY.requests += self.server.requests.total()
            TALLY.writes += self.server.writes
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    # -- what came -----------------------------------------------------------------------------------------------

    async def until(self, true: Callable[[], object], within: float = 15.0) -> None:
        """Return when it is so; asked whenever something arrives and now and then."""
        async with asyncio.timeout(within):
            while not true():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._news.wait()

    async def subscribed(self, within: float = 15.0) -> None:
        """Return when the set-up of the first connection is over and every counter delivered."""
        await self.until(lambda: self.server.requests["Publish"] and not self._resolving(), within)
        await self.settled(within)

    def _resolving(self) -> bool:
        device = getattr(self.driver, "_devices", {}).get("plc")
        return device is None or any(item.state == "resolving" for item in device.items)

    async def settled(self, within: float = 15.0) -> None:
        """Return when every counter delivered a good value that it took after now."""
        first = self.count + 1
        await self.until(lambda: len(self.fresh(first)) == len(self.counters), within)

    async def all_back(self, within: float = 15.0) -> float:
        """Count a fault as healed now; return the machine seconds until every counter delivered a good value that it took after now."""
        since, first = time.monotonic(), self.count + 1
        try:
            await self.settled(within)
        finally:
            seconds = time.monotonic() - since
            TALLY.healed(len(self.counters), len(self.fresh(first)), seconds)
        return seconds

    def fresh(self, first: int) -> set[str]:
        """The counters that delivered a good value whose number is ``first`` or later."""
        out, position = set(), len(self.rows)
        while position and len(out) < len(self.counters):
            position -= 1
            row = self.rows[position]
            if row.quality == 0 and isinstance(row.value, int) and row.tag in self.produced and row.value % STRIDE >= first:
                out.add(row.tag)
        return out

    def values(self, tag: str) -> list[object]:
        """The good values of a tag, in order."""
        return [row.value for row in self.rows if row.tag == tag and row.quality == 0]

    def of(self, kind: type[Notice]) -> list[Any]:
        """The notices of a kind, in order."""
        return [notice for notice in self.notices if isinstance(notice, kind)]

    def lost(self, name: str) -> bool:
        """Whether a tag was declared as a whole as lost and not found since."""
        said = [notice.ok for notice in self.of(TagStatus) if notice.name == name]
        return bool(said) and not said[-1]

    def judge(self, overtaken: Collection[str] = ()) -> None:
        """Every value was produced by its tag, in order; what is missing was declared.

        Between the first Read of a connection and the first sample of the subscription a device may change unseen, and so may it before.
        ``overtaken`` are tags that a trigger group reads too: a sample that the group's Read overtook is dropped.
        """
        gaps = self.of(Gap)
        by_tag: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.tag in self.produced and row.value is not None:
                by_tag[row.tag].append(row)
        for name, rows in by_tag.items():
            produced = set(self.produced[name])
            alien = [row.value for row in rows if row.value not in produced]
            assert not alien, f"{name} delivered what it never had: {alien[:5]}"
            first = {row.session: row for row in reversed(rows)}
            for before, after in itertools.pairwise(rows):
                step = int(str(after.value)) - int(str(before.value))
                assert step >= 0, f"{name}: {after.value} came after {before.value}"
                declared = any(not gap.tags or name in gap.tags for gap in gaps)
                new = before.session != after.session or before is first[before.session]
                assert step <= 1 or new or declared or name in overtaken, f"{name}: {before.value} -> {after.value} undeclared"
        assert self.server.writes == 0
