"""What a server's historian has of the time in which nobody listened, read once and only believed whole (HistoryRead, OPC 10000-11, 6.4.3).

A tag's history is complete when it holds the last sample that was taken before and the first one after: then nothing can be missing in between.
Anything less is not told at all, and the gap stays as it is declared.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.wire import history_read_response
from edge_agent.model.errors import DisconnectedError

_READABLE: Final = 0x04
"""The bit HistoryRead of AccessLevel and UserAccessLevel (OPC 10000-3, 8.57)."""

_PAGE: Final = 1000
_ABREAST: Final = 4
_AGAIN: Final = 0.3
"""Machine seconds until a historian that has not stored the newest sample yet is asked again."""

_RELEASE: Final = 1.0
_SAME: Final = 1_000_000
"""ns by which the historian's time of a sample may differ from the server's own: some keep milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger()


class Want(NamedTuple):
    """A tag, the time of its last sample that is in, and that of its first one now (UTC ns, the device's clock)."""

    item: Item
    since: int
    until: int


class Bounds(NamedTuple):
    """Machine seconds that the history of a device may take, and samples that it may have."""

    within: float
    rows: int


class Told(NamedTuple):
    """What the historian had in between, oldest first, and the names of the tags of which that is everything."""

    rows: Columns
    complete: tuple[str, ...]


async def offered(session: Session, items: Sequence[Item]) -> list[Item]:
    """Return the items whose history the agent may read. Raises DisconnectedError."""
    known = [item for item in items if item.node is not None]
    levels = (
        await session.read_ids([ua.ReadValueId(item.node, ua.AttributeIds.UserAccessLevel) for item in known])
        if known
        else Columns()
    )
    out = [item for item, level in zip(known, levels.values, strict=True) if isinstance(level, int) and level & _READABLE]
    if missing := [item.tag.name for item in known if item not in out]:
        _log.warning("opcua.no_history", tags=missing[:20], count=len(missing), reason="the server does not let the agent read it")
    return out


async def fill(session: Session, wants: Sequence[Want], bounds: Bounds, stop: asyncio.Event) -> Told:
    """Read what is between the two samples of each tag, until it is complete, ``bounds`` are reached or ``stop`` is set.

    Pages on their way get a second more. Raises DisconnectedError when the connection is lost.
    """
    book = _Book(session, bounds.rows)
    reading = asyncio.create_task(book.read(wants))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((reading, stopping), timeout=bounds.within, return_when=asyncio.FIRST_COMPLETED)
        book.over = True
        await asyncio.wait((reading,), timeout=_RELEASE)  # a page on its way may come with something to give back
        if reading.done():
            reading.result()
    finally:
        reading.cancel()
        stopping.cancel()
        await asyncio.gather(reading, stopping, return_exceptions=True)
    await book.release()
    return book.told(wants)


class _Book:
    """The history of some tags while it is being read."""

    def __init__(self, session: Session, most: int) -> None:
        self._session = session
        self._most = most
        self._room = asyncio.Semaphore(_ABREAST)
        self._rows = 0
        self.over = False
        self._complete: dict[int, Columns] = {}
        self._points: dict[int, tuple[Item, bytes]] = {}

    async def read(self, wants: Sequence[Want]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for want in wants:
                    group.create_task(self._one(want))
        except* DisconnectedError as errors:
            raise DisconnectedError(str(errors.exceptions[0])) from None

    async def _one(self, want: Want) -> None:
        if abs(want.since - want.until) < _SAME:
            self._complete[want.item.handle] = Columns()  # the same sample still: nothing has changed
            return
        rows, last, held = Columns(), want.since - _SAME, False
        while True:
            async with self._room:
                page = await self._pages(want.item, last, want.until)
            if page is None:
                return
            news = page.select([row for row, time in enumerate(page.source) if time > last])
            rows.extend(news)
            held = held or any(abs(time - want.since) < _SAME for time in news.source)
            if not held:
                return  # it does not reach back to what is in
            last = max(rows.source)
            if last > want.until - _SAME:
                self._complete[want.item.handle] = _between(rows, want)
                return
            if self.over:
                return
            await asyncio.sleep(_AGAIN)

    async def _pages(self, item: Item, since: int, until: int) -> Columns | None:
        """Return all samples from ``since`` to ``until``, None where the server refuses or there are too many."""
        out, point = Columns(), b""
        while True:
            status, following, rows = await _page(self._session, item, since, until, point)
            self._points.pop(item.handle, None)
            if following:
                self._points[item.handle] = item, following
            if status >> 31:
                _log.info("opcua.history_refused", tag=item.tag.name, reason=status_text(status))
                return None
            out.extend(rows)
            self._rows += len(rows)
            if self._rows > self._most:
                _log.info("opcua.history_too_long", tag=item.tag.name, most=self._most)
                return None
            if not following:
                return out
            if self.over:
                return None
            point = following

    async def release(self) -> None:
        """Give back what the server holds ready for requests that will not come."""
        for item, point in self._points.values():
            with contextlib.suppress(TimeoutError):
                async with deadline(_RELEASE):
                    await _page(self._session, item, 0, 0, point, release=True)

    def told(self, wants: Sequence[Want]) -> Told:
        """Return what is complete, in the order of time."""
        rows = Columns()
        for part in self._complete.values():
            rows.extend(part)
        ordered = rows.select(sorted(range(len(rows)), key=rows.source.__getitem__))
        names = tuple(want.item.tag.name for want in wants if want.item.handle in self._complete)
        return Told(ordered, names)


def _between(rows: Columns, want: Want) -> Columns:
    """Return what lies strictly between the two samples that are known."""
    return rows.select([row for row, time in enumerate(rows.source) if want.since + _SAME <= time <= want.until - _SAME])


def _date(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


async def _page(
    session: Session, item: Item, since: int, until: int, point: bytes, *, release: bool = False
) -> tuple[int, bytes, Columns]:
    """Read one page of raw samples; returns the status, where to go on (b"" = that was all) and the rows."""
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=_date(since), EndTime=_date(until + _SAME), NumValuesPerNode=_PAGE, ReturnBounds=False
    )
    node = ua.HistoryReadValueId(item.node, None, ua.QualifiedName(), point or None)
    params = ua.HistoryReadParameters(details, ua.TimestampsToReturn.Both, release, [node])
    try:
        body = await session.request(ua.HistoryReadRequest(Parameters=params), "history read")
        async with session.bounded("history read"):
            result, status, following, rows = history_read_response(body, item.handle)
    except DisconnectedError as error:
        if isinstance(error.__cause__, ua.UaStatusCodeError):
            return error.__cause__.code, b"", Columns()
        raise
    return (result if result >> 31 else status), following, rows
