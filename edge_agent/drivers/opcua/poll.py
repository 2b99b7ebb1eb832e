"""Polling, where a server cannot subscribe at all or takes no more items: Read with registered nodes, in batches, on a grid.

What did not change since the last poll, or by less than the tag's deadband since it was last told, is not told again, as a
subscription would have it. A poll that takes longer than its
period is followed by the next one of the grid: a slow server sets the pace itself.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.abreast import SMALL
from edge_agent.drivers.opcua.item import NODE_GONE, Item, take_parts
from edge_agent.drivers.opcua.pollplan import Sheet
from edge_agent.drivers.opcua.session import STATE, Session
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.wire import plain_answer
from edge_agent.model.errors import DisconnectedError

_FASTEST: Final = 0.1
"""Shortest machine seconds between two polls of a tag: a Read costs the server more than a sample of its own."""

_STATE_EVERY: Final = 1.0
_NUMBERS: Final = frozenset({int, float})


class Poller:
    """The polled items of one device. ``deliver`` gets what changed.

    ``instead`` is why the whole device is polled, empty where it is not. Where nobody subscribes to the server's own state (``watches``)
    it is polled too, under handle ``state``.
    """

    instead = ""
    watches = False
    turn: asyncio.Lock
    """Held while a poll is on its way; whoever holds it knows that no Read of a polled value is."""

    def __init__(self, session: Session, state: int, speed: float, deliver: Callable[[Columns], None]) -> None:
        self._session = session
        self._state, self._speed, self._deliver = state, speed, deliver
        self._items: dict[int, Item] = {}
        self._registered: dict[int, ua.NodeId] = {}
        self._registers = True
        self._last: dict[int, tuple[object, ...]] = {}
        self._due: dict[float, float] = {}
        self._sheets: dict[float, list[Sheet]] = {}
        self._size = 0
        self._changes = -1
        self._news = asyncio.Event()
        self.turn = asyncio.Lock()
        self._log = structlog.get_logger().bind(server=session.client.server_url.netloc)

    @property
    def items(self) -> list[Item]:
        """What is polled now."""
        return [item for item in self._items.values() if item.polled and item.state == "active"]

    async def add(self, items: Sequence[Item]) -> None:
        """Poll items from now on; they count as working. Raises DisconnectedError."""
        await self._register(items)
        self._rearrange()
        for item in items:
            item.polls()
            self._last.pop(item.handle, None)
            self._items[item.handle] = item
            self._due.setdefault(self._period(item), 0.0)
        self._news.set()

    def _period(self, item: Item) -> float:
        return max(item.tag.period / 1e9 / self._speed, _FASTEST)

    async def _register(self, items: Sequence[Item]) -> None:
        """Give the nodes short names at the server, where it has such (OPC 10000-4, 5.9.5); without them polls only cost more."""
        out: list[ua.NodeId] = []

        async def one(chunk: Sequence[ua.NodeId]) -> Sequence[ua.NodeId]:
            async with self._session.bounded("register nodes", batch=True):
                names = await self._session.client.uaclient.session.register_nodes(list(chunk))
            out.extend(names)
            return names

        known = [item for item in items if item.node is not None]
        for item in items:
            self._registered.pop(item.handle, None)
        if not self._registers:
            return
        try:
            await self._session.in_batches(one, [item.node for item in known], self._session.register_size)
        except DisconnectedError as error:
            if not isinstance(error.__cause__, ua.UaStatusCodeError):
                raise
            self._registers = False
            self._log.info("opcua.not_registered", reason=str(error))
            return
        self._registered.update((item.handle, name) for item, name in zip(known, out, strict=True))

    async def run(self) -> None:
        """Poll until cancelled. Raises DisconnectedError."""
        clock = asyncio.get_running_loop().time
        look = 0.0
        while True:
            self._news.clear()
            await self._wait()
            now = clock()
            for period, due in list(self._due.items()):
                if due <= now:
                    async with self.turn:
                        await self._poll(period)
                    self._due[period] = max(due + period, clock()) if due else now + period
            if self.watches and look <= now:
                look = now + _STATE_EVERY
                self._changed(await self._session.read([ua.NodeId(STATE)], [self._state]))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout_at(min(self._due.values(), default=None)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _poll(self, period: float) -> None:
        if self._changes != Item.changes:
            self._changes = Item.changes
            for item in [item for item in self._items.values() if item.state != "active" or not item.polled]:
                self._drop(item.handle)
        if self._size != self._session.read_size:
            self._rearrange()
        if period not in self._sheets:
            self._sheets[period] = self._arranged([item for item in self._items.values() if self._period(item) == period])
        for sheet in self._sheets[period]:
            await self._ask(sheet)

    async def _ask(self, sheet: Sheet) -> None:
        """Ask for everything on a sheet at once, and from the first time on that this brings no plain answer with all care."""
        rows, body = None, b""
        if not sheet.careful:
            body = await self._session.ask_ready(sheet.request)
            news = sheet.glance(body)
            if news is not None:
                if len(news):
                    self._deliver(news)
                return
            rows = plain_answer(body, sheet.handles)
        if rows is None:
            sheet.careful = True
            rows = await self._session.read_ids(sheet.wanted, sheet.handles)
        if not sheet.plain:
            take_parts(
                rows, {handle: item for handle in sheet.handles if (item := self._items.get(handle)) and item.pick is not None}
            )
        self._compare(sheet, rows)
        if not sheet.careful:
            sheet.look_closer(body)

    def _arranged(self, items: Sequence[Item]) -> list[Sheet]:
        """Return the requests for ``items``, of as many as the server takes at once; where it takes few, one sheet for them all."""
        few = self._size < SMALL
        size, sheets = len(items) if few else self._size, []
        for chunk in (items[at : at + size] for at in range(0, len(items), max(size, 1))):
            wanted = [item.value_id for item in chunk]
            for item, want in zip(chunk, wanted, strict=True):
                want.NodeId = self._registered.get(item.handle, want.NodeId)
            plain = all(item.band is None and item.pick is None for item in chunk)
            sheets.append(Sheet(wanted, [item.handle for item in chunk], plain=plain, careful=few))
        return sheets

    def _compare(self, sheet: Sheet, rows: Columns) -> None:
        """Deliver what is news of the answer to one request."""
        news = sheet.changed(rows)
        if news is None:
            self._last.update(sheet.forget())
            sheet.remember(rows.copy())
            self._changed(rows)
        elif news:
            self._deliver(rows.select(news))

    def _rearrange(self) -> None:
        """Have the requests made anew; what was told stays known."""
        for sheets in self._sheets.values():
            for sheet in sheets:
                self._last.update(sheet.forget())
        self._sheets.clear()
        self._size = self._session.read_size

    def _drop(self, handle: int) -> None:
        self._rearrange()
        self._items.pop(handle, None)
        self._registered.pop(handle, None)
        self._last.pop(handle, None)

    def _changed(self, rows: Columns) -> None:
        """Deliver the rows that are not what the last poll brought already."""
        keep = []
        for row, handle in enumerate(rows.handles):
            sample = (rows.types[row], rows.values[row], rows.status[row], rows.source[row])
            item = self._items.get(handle)
            band = None if item is None else item.band
            if differs(self._last.get(handle), sample, band) or rows.status[row] & 0xFFFF_0000 in NODE_GONE:
                self._last[handle] = sample
                keep.append(row)
        if keep:
            self._deliver(rows.select(keep))


def differs(told: tuple[object, ...] | None, now: tuple[object, ...], band: float | None) -> bool:
    """Whether a sample (type, value, status, source time) is news after the one told last; with a deadband as OPC 10000-4, 7.22.2 has it."""
    if told is None or band is None:
        return told != now
    return told[0] != now[0] or told[2] != now[2] or _beyond(told[1], now[1], band)


def _beyond(told: object, now: object, band: float) -> bool:
    """Whether a number, or one of an array, moved by more than ``band``; what is no number has moved when it is another."""
    if isinstance(told, tuple) and isinstance(now, tuple):
        return len(told) != len(now) or any(_beyond(one, other, band) for one, other in zip(told, now, strict=True))
    if type(told) in _NUMBERS and type(now) in _NUMBERS:
        return not (abs(now - told) <= band or (now != now and told != told))  # type: ignore[operator]  # noqa: PLR0124 - NaN is beyond all but itself
    return told != now
