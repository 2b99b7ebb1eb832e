"""Going on where another connection stopped: what names a subscription, what is kept of it, and its way to a new session.

A *line* is one unbroken row of notification messages: a subscription of exactly these tags at one run of the server. A `Mark` says which
message of which line is in; with it a later connection (also of a later process) takes the subscription over (TransferSubscriptions), asks for
what is missing (Republish) and declares what is not there any more (OPC 10000-4, 5.14.6 and 5.14.7).
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from edge_agent.drivers.opcua.facts import Facts, facts_of, reached
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.subscribe import ahead, following
from edge_agent.drivers.opcua.wire import Message
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Mark

_MOST_MISSED: Final = 1000
"""Messages that are asked for again; what a server keeps beyond that is not believed."""

_refusing: Final[set[str]] = set()
"""Servers (by URL) that have refused a transfer: what they keep is of no use, so they are asked to keep nothing."""

_MOST_TRIES: Final = 3
_tries: Final[dict[str, int]] = {}
"""How often the subscription of a line was taken over and soon lost again; some servers only seem to give it away."""

_log = structlog.get_logger()


class Kept(NamedTuple):
    """A subscription that a server may still have for a device, and the last message of it that is in."""

    line: str
    subscription: int
    number: int
    facts: Facts


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


def _place(mark: Mark) -> tuple[int, int]:
    return mark.number, -mark.left


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
