"""Going on where another connection stopped: what names a subscription, what is kept of it, and its way to a new session.

A *line* is one unbroken row of notification messages: a subscription of exactly these tags at one run of the server. A `Mark` says which
message of which line is in; with it a later connection (also of a later process) takes the subscription over (TransferSubscriptions), asks for
what is missing (Republish) and declares what is not there any more (OPC 10000-4, 5.14.6 and 5.14.7).
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import ahead, following
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.drivers.opcua.wire import Message
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Mark, Value

_MOST_FACTS: Final = 8192
"""Bytes of facts that are worth writing with every commit; a server that numbers its items at random for many tags is not resumed."""

_MOST_MISSED: Final = 1000
"""Messages that are asked for again; what a server keeps beyond that is not believed."""

_refusing: Final[set[str]] = set()
"""Servers (by URL) that have refused a transfer: what they keep is of no use, so they are asked to keep nothing."""

_MOST_TRIES: Final = 3
_tries: Final[dict[str, int]] = {}
"""How often the subscription of a line was taken over and soon lost again; some servers only seem to give it away."""

_log = structlog.get_logger()


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What of a subscription a later connection cannot ask the server.

    Where its tags were found, its items as runs of (first handle, first item, how many), its revised publishing interval (ms) and
    keep-alive time (s), the boot tag's value, and whether the server's state is polled.
    """

    nodes: str
    runs: tuple[tuple[int, int, int], ...]
    publishing: float
    keep_alive: float
    boot: int | str | None = None
    watches: bool = False

    def monitored(self) -> dict[int, int]:
        """Return the monitored item of each handle."""
        return {handle + step: number + step for handle, number, count in self.runs for step in range(count)}


class Kept(NamedTuple):
    """A subscription that a server may still have for a device, and the last message of it that is in."""

    line: str
    subscription: int
    number: int
    facts: Facts


def signature(config: OpcUaConfig, items: Sequence[Item]) -> str:
    """Return what the samples of a subscription depend on in the configuration; the handles are places in this list."""
    said = [(item.tag.name, repr(item.address), repr(item.pick), item.tag.period, item.deadband) for item in items]
    return _digest([config.namespace, config.sampling, config.publishing, *said])


def found(items: Iterable[Item]) -> str:
    """Return where the items of a subscription are at the server now: a program that moved its variables is another one."""
    return _digest((item.handle, text_of(item.node), item.index_range) for item in items if item.node is not None)


def _digest(parts: Iterable[object]) -> str:
    return hashlib.blake2b(repr(list(parts)).encode(), digest_size=12).hexdigest()


def runs_of(items: Sequence[Item]) -> tuple[tuple[int, int, int], ...]:
    """Return the monitored items as runs: servers number them one after another."""
    out: list[tuple[int, int, int]] = []
    for item in items:
        if item.monitored is None:
            continue
        if out and out[-1][0] + out[-1][2] == item.handle and out[-1][1] + out[-1][2] == item.monitored:
            out[-1] = (*out[-1][:2], out[-1][2] + 1)
        else:
            out.append((item.handle, item.monitored, 1))
    return tuple(out)


def kept_of(marks: Sequence[Mark], signed: str, started: object) -> Kept | None:
    """Return what all readers can go on from, None where they cannot: other tags, another run of the server, or not one line."""
    if not marks or len({mark.line for mark in marks}) != 1 or _tries.get(marks[0].line, 0) >= _MOST_TRIES:
        return None
    newest = max(marks, key=_place)
    kind, _, rest = marks[0].line.partition(":")
    subscription, _, run = rest.partition("@")
    if kind != signed or not subscription.isdigit() or not isinstance(started, int) or run != str(started):
        return None
    facts = facts_of(newest)
    if facts is None:
        return None
    return Kept(marks[0].line, int(subscription), min(reached(mark) for mark in marks), facts)


def facts_of(mark: Mark) -> Facts | None:
    """Return the facts in a mark, None where there are none or another version wrote them."""
    try:
        return msgspec.msgpack.decode(mark.facts, type=Facts) if mark.facts else None
    except msgspec.MsgspecError:
        return None


def started_of(mark: Mark) -> str:
    """Return which run of the server a mark is of."""
    return mark.line.partition("@")[2]


def reached(mark: Mark) -> int:
    """Return the last message that is wholly in."""
    return mark.number - 1 if mark.left else mark.number


def _place(mark: Mark) -> tuple[int, int]:
    return mark.number, -mark.left


class Track:
    """How far one connection has delivered a device's data: makes the marks of its batches. ``keeps``: somebody stores them."""

    def __init__(self, signed: str, keeps: bool, watched: frozenset[int] = frozenset()) -> None:
        """Remember the newest time of the ``watched`` tags (those with a history) for ever, of others while a Read has overtaken them."""
        self._signed, self._keeps, self._watched = signed, keeps, watched
        self.line = ""
        self._number = 0
        self._until = 0.0
        self._facts = b""
        self._seen: dict[int, int] = {}
        self._overtaken: set[int] = set()

    def begin(self, subscription: int, started: object) -> None:
        """Count the messages of a new subscription; without the server's start time its number proves nothing."""
        self._number, self._facts = 0, b""
        self.line = f"{self._signed}:{subscription}@{started}" if isinstance(started, int) and started > 0 else ""

    @property
    def resumable(self) -> bool:
        """Whether there is a line that a later connection can go on with."""
        return self._keeps and ":" in self.line

    def go_on(self, kept: Kept) -> None:
        """Count on in a line."""
        self.line, self._number = kept.line, kept.number
        self.describe(kept.facts)

    def connected(self, started: object) -> None:
        """Take note of the server's run before there is a line."""
        self.line = f"@{started}" if isinstance(started, int) else ""
        self._number = 0

    def describe(self, facts: Facts) -> None:
        """Keep what a later connection has to know."""
        packed = msgspec.msgpack.encode(facts)
        self._facts = packed if len(packed) <= _MOST_FACTS else b""

    def remember(self, seen: dict[int, int]) -> None:
        """Go on with the times of an earlier connection."""
        self._seen.update(seen)

    def read(self, rows: Columns, until: float) -> None:
        """Take note of values read beside the subscription: until the machine time ``until`` (s) older samples may still come in it."""
        if self._keeps:
            self._until = until
            for handle, source, server in zip(rows.handles, rows.source, rows.server, strict=True):
                if stamp := source or server:
                    self._seen[handle] = max(stamp, self._seen.get(handle, 0))
                    self._overtaken.add(handle)

    def mark(self, rows: Columns | None = None, sequence: int | None = None, left: int = 0) -> Mark | None:
        """Return the mark of a batch of ``rows`` out of message ``sequence`` (None: none), of which ``left`` parts follow."""
        if not self._keeps:
            return None
        if sequence is not None:
            self._number = sequence
        if self._overtaken and time.monotonic() > self._until:
            for handle in self._overtaken - self._watched:
                self._seen.pop(handle, None)
            self._overtaken.clear()
        if rows is not None and (self._overtaken or self._watched):
            self._saw(rows)
        return Mark(self.line, self._number, dict(self._seen), self._facts, left)

    def past(self, rows: Columns, line: str) -> Mark | None:
        """Return the mark of a batch out of a historian: a line of its own, for no later connection can go on with it."""
        return msgspec.structs.replace(mark, line=line, number=0, facts=b"") if (mark := self.mark(rows)) is not None else None

    def _saw(self, rows: Columns) -> None:
        for handle, source, server in zip(rows.handles, rows.source, rows.server, strict=True):
            stamp = source or server
            if handle in self._watched:
                self._seen[handle] = max(stamp, self._seen.get(handle, 0))
            elif handle in self._overtaken and stamp >= self._seen.get(handle, 0):
                self._overtaken.discard(handle)
                self._seen.pop(handle, None)


def tried(line: str) -> None:
    """Take note that a line is gone on with; after some tries in a row of which none `proved` itself it is given up."""
    _tries[line] = _tries.get(line, 0) + 1


def proved(line: str) -> None:
    """Take note that the subscription works."""
    _tries.pop(line, None)


def doubt(line: str) -> None:
    """Do not go on with a line again."""
    _tries[line] = _MOST_TRIES


def transfers(url: str) -> bool:
    """Whether the server has not shown yet that it gives no subscription away."""
    return url not in _refusing


def _refused(session: Session, subscription: int, code: int) -> None:
    _log.info("opcua.not_transferred", subscription=subscription, reason=status_text(code))
    if code != ua.StatusCodes.BadSubscriptionIdInvalid:
        _refusing.add(session.client.server_url.geturl())
        session.client.keep_subscriptions(False)


async def transfer(session: Session, subscription: int) -> list[int] | None:
    """Take a subscription over into this session; returns the messages that the server still has of it, None where it cannot be had."""
    request = ua.TransferSubscriptionsRequest(Parameters=ua.TransferSubscriptionsParameters([subscription], True))
    try:
        body = await session.request(request, "transfer subscriptions")
        async with session.bounded("transfer subscriptions"):
            response: Any = struct_from_binary(ua.TransferSubscriptionsResponse, ua.utils.Buffer(body))
            response.ResponseHeader.ServiceResult.check()
        (result,) = response.Parameters.Results
    except DisconnectedError as error:
        if not isinstance(error.__cause__, ua.UaStatusCodeError):
            raise
        _refused(session, subscription, error.__cause__.code)
        return None
    except ValueError:
        raise DisconnectedError("transfer subscriptions: not one result for one subscription") from None
    if not result.StatusCode.is_good():
        _refused(session, subscription, int(result.StatusCode.value))
        return None
    _refusing.discard(session.client.server_url.geturl())
    return [int(number) for number in result.AvailableSequenceNumbers or ()]


async def discard(session: Session, subscription: int) -> None:
    """Delete a subscription of our own that is of no use any more; one that is gone already is fine."""
    if await transfer(session, subscription) is not None:
        request = ua.DeleteSubscriptionsRequest(Parameters=ua.DeleteSubscriptionsParameters([subscription]))
        await session.request(request, "delete subscriptions")


class Missed(NamedTuple):
    """A message that was asked for again, or (``message`` None) how many are lost there."""

    message: Message | None
    lost: int = 0


async def missed(session: Session, kept: Kept, available: Sequence[int]) -> list[Missed]:
    """Ask for the messages after the last one that is in, in order; what cannot be had is said where it was."""
    out: list[Missed] = []
    expected = following(kept.number)
    news = sorted({number for number in available if ahead(number, expected) >= 0}, key=lambda number: ahead(number, expected))
    for number in news[:_MOST_MISSED]:
        if (gone := ahead(number, expected)) > 0:
            out.append(Missed(None, gone))
        message = await session.republish(kept.subscription, number)
        out.append(Missed(message) if message is not None else Missed(None, 1))
        expected = following(number)
    return out


def stored(marks: Callable[[], Sequence[Mark]], line: str) -> Callable[[], int]:
    """Return how to ask which message of ``line`` is the last that every reader has stored; 0 while one of them has none."""

    def ask() -> int:
        numbers = [reached(mark) for mark in marks() if mark.line == line]
        return min(numbers) if numbers and len(numbers) == len(marks()) else 0

    return ask


def evidence(value: object) -> Value | None:
    """Return a boot tag's value as it is kept in facts."""
    return value if value is None or type(value) is int or isinstance(value, str) else str(value)
