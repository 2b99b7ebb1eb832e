"""A PLC that knows what it made: a counter that wraps, an order, records that wait for their acknowledgement, restarts and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent_bench import ManualClock

from edge_agent.events.catalog import UnitConfig
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Boot, DeviceUp, Quality, Snapshot, Tag, Value

RATE = 20
"""Parts a second at most."""
MODULUS = 1 << 16
TAGS = (
    Tag("plc1", "count", "uint16"),
    Tag("plc1", "order", "string"),
    Tag("plc1", "seq"),
    Tag("plc1", "weight"),
    Tag("plc1", "seq_end"),
    Tag("plc1", "ack", acknowledge=True),
)
FILLER = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "filler",
        "context": {"order": "plc1.order"},
        "counters": {
            "total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": f"{RATE}/s", "on_restart": "zeroes"}
        },
    }
)
WEIGHER = UnitConfig.model_validate(
    {
        "version": 1,
        "unit": "weigher",
        "records": {
            "scale": {
                "pattern": "seq_ack",
                "seq": "plc1.seq",
                "seq_end": "plc1.seq_end",
                "ack": "plc1.ack",
                "fields": {"value": "plc1.weight"},
                "characteristic": "net_weight",
            }
        },
    }
)


class Plc:
    """The machine and its program. ``orders[i]`` is the order for which part i + 1 was made, ``weights`` every record that was shown."""

    def __init__(self, clock: ManualClock, register: int) -> None:
        """Stand with ``register`` on the counter and order A."""
        self.clock = clock
        self.register = register
        self.order = "A"
        self.boots = 7
        self.orders: list[str] = []
        self.weights: list[float] = []
        self.seq = self.ack = 0
        self._planned = 0
        self.there = True
        self.refusals = 0
        self.connection: PlcConnection | None = None

    @property
    def made(self) -> int:
        """How many parts were truly made."""
        return len(self.orders)

    def work(self, seconds: float, parts: int, order: str | None = None) -> None:
        """Let time pass in which ``parts`` are made; then go on with ``order``."""
        assert parts <= RATE * seconds
        self.clock.advance(seconds)
        self.register = (self.register + parts) % MODULUS
        self.orders += [self.order] * parts
        self.order = order or self.order

    def weigh(self) -> None:
        """Have one more record to hand over."""
        self._planned += 1
        self._show()

    def _show(self) -> None:
        """Show the next record when the one before was acknowledged."""
        if self._planned and self.ack == self.seq:
            self._planned -= 1
            self.seq += 1
            self.weights.append(250 + len(self.weights) / 8)

    @property
    def handed_over(self) -> bool:
        """Whether no record waits."""
        return not self._planned and self.ack == self.seq

    def restart(self) -> None:
        """Lose the power: counter, record number and acknowledgement begin at zero."""
        self.cut()
        self.boots += 1
        self.register = self.seq = self.ack = 0

    def cut(self) -> None:
        """Cut the connection."""
        if self.connection is not None:
            self.connection.end()

    def acknowledged(self, value: Value) -> None:
        """Take the agent's write."""
        assert type(value) is int
        assert 0 < value <= self.seq, "an acknowledgement of a record that was never shown"
        self.ack = value
        self._show()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[PlcConnection]:
        """Open a connection."""
        if self.refusals or not self.there:
            self.refusals = max(0, self.refusals - 1)
            raise DisconnectedError("no answer")
        connection = self.connection = PlcConnection(self)
        try:
            yield connection
        finally:
            connection.end()
            self.connection = None


class PlcConnection:
    """`ports.Driver` to the PLC: every scan is a batch of all tags; a record is read as one whenever its number changed."""

    def __init__(self, plc: Plc) -> None:
        """Read everything once."""
        self.tags = {"plc1": TAGS}
        self._plc = plc
        self._waiting: list[Batch] = []
        self._lost = False
        self._something = asyncio.Event()
        self._reading = False
        self._shown: int | None = None
        self.scan(first=True)

    @property
    def idle(self) -> bool:
        """Whether everything was taken and accepted."""
        return self._reading and not self._waiting

    def scan(self, *, first: bool = False, count: Value | None = None, quality: Quality = Quality.GOOD) -> None:
        """Read the PLC now; ``count`` and ``quality`` put something else in the place of the counter's value."""
        plc, now = self._plc, self._plc.clock.now()
        value = plc.register if count is None and quality is not Quality.BAD else count
        notices = (DeviceUp("plc1", now), Boot("plc1", now, plc.boots)) if first else ()
        values = [value, plc.order, plc.seq, plc.weights[-1] if plc.seq else 0.0, plc.seq, plc.ack]
        rows = len(values)
        fired = () if plc.seq == self._shown else (Snapshot("weigher/scale", 2, rows),)
        self._shown = plc.seq
        qualities = [int(quality), *[0] * (rows - 1)]
        batch = Batch("plc1", now, list(range(rows)), values, qualities, [0] * rows, [0] * rows, snapshots=fired, before=notices)
        self._waiting.append(batch)
        self._something.set()

    def end(self) -> None:
        """Be lost after what was read."""
        self._lost = True
        self._something.set()

    async def read(self) -> Sequence[Batch]:
        """Return what waits."""
        self._reading = True
        await self._something.wait()
        self._reading = False
        if not self._waiting:
            raise DisconnectedError("cut")
        taken, self._waiting = self._waiting, []
        if not self._lost:
            self._something.clear()
        return taken

    async def acknowledge(self, device: str, tag: str, value: Value) -> None:
        """Write an acknowledgement; the next scan shows what the PLC makes of it."""
        assert (device, tag) == ("plc1", "ack")
        if self._lost:
            raise DisconnectedError("cut")
        before = self._plc.ack
        self._plc.acknowledged(value)
        if value != before:
            self.scan()

    def poll_at(self, time: int) -> bool:
        """Nothing here is read by the calendar."""
        return False
