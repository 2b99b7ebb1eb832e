"""Our own publish loop on the low-level session: several PublishRequests outstanding, sequence numbers checked, acknowledged late.

::

    server  --PublishResponse-->  future's callback (in order of arrival; the next PublishRequest leaves at once)
            --> `run`: sequence check, Republish of holes --> subscriber.notified / .hole / .status
    accepted receipts ------> ride on the next PublishRequest

A keep-alive never waits for anything: requests are renewed in the callback, before anybody looks at the content.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections import deque
from typing import Any, Final, Protocol

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.acks import Acknowledgements
from edge_agent.drivers.opcua.inbox import Receipt
from edge_agent.drivers.opcua.pace import Pace
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.variant import DecodeError
from edge_agent.drivers.opcua.wire import Message, publish_response
from edge_agent.model.errors import DisconnectedError

_LAST: Final = 2**32 - 1
_MOST_ACKS: Final = 1000
_MOST_BACKLOG: Final = 64
_MOST_REPUBLISHED: Final = 1000
_MOST_IN_VAIN: Final = 50
_PROVEN: Final = 6
"""Times the longest silence allowed: a subscription that was heard for so long after it was taken over is a working one."""
_GONE: Final = frozenset(
    {
        ua.StatusCodes.BadTimeout,
        ua.StatusCodes.BadSubscriptionIdInvalid,
        ua.StatusCodes.BadNoSubscription,
        ua.StatusCodes.BadShutdown,
    }
)


def following(sequence: int) -> int:
    """Return the sequence number after ``sequence``; after 2^32 - 1 comes 1 (OPC 10000-4, 7.8)."""
    return 1 if sequence >= _LAST else sequence + 1


def ahead(sequence: int, expected: int) -> int:
    """Return how many numbers ``sequence`` is ahead of ``expected``, over the wrap; negative when it is behind."""
    distance = (sequence - expected) % _LAST
    return distance if distance <= _LAST // 2 else distance - _LAST


class Subscriber(Protocol):
    """Who gets what a subscription brings."""

    def notified(self, rows: Columns, receipt: Receipt) -> None:
        """Take the rows of one message; ``receipt`` is released when they were accepted."""

    def hole(self, missing: int) -> None:
        """Take note that ``missing`` messages are lost for good; what follows is newer."""

    def status(self, code: int) -> None:
        """Take note of a status change that does not end the subscription."""

    def silent(self) -> None:
        """Take note that the subscription was taken over and has never said a word."""

    def proven(self) -> None:
        """Take note that the subscription was taken over long ago, and works."""

    def caught_up(self) -> None:
        """Take note that everything has been delivered which the server had before the subscription was taken over."""


class _Line:
    """One subscription as the loop sees it."""

    def __init__(self, subscriber: Subscriber, limit: float, now: float, expected: int, catching_up: bool) -> None:
        self.subscriber = subscriber
        self.limit = self.at_first = limit
        self.heard = self.added = now
        self.expected = expected
        self.catching_up = self.taken_over = catching_up

    @property
    def deadline(self) -> float:
        """The machine time by which something must have come."""
        return self.heard + (self.limit if self.heard > self.added else self.at_first)


class PublishLoop:
    """The publish side of one session. ``add`` a subscription, then `run` until the connection is lost."""

    def __init__(self, session: Session, pace: Pace) -> None:
        self._session = session
        self._pace = pace
        self._lines: dict[int, _Line] = {}
        self.acks = Acknowledgements()
        self._arrived: deque[asyncio.Future[Any]] = deque()
        self._something = asyncio.Event()
        self._outstanding = 0
        self._wanted = pace.requests
        self._in_vain = 0
        self._log = structlog.get_logger().bind(server=session.client.server_url.netloc)

    def add(self, subscription: int, subscriber: Subscriber, keep_alive: float) -> None:
        """Publish for a new subscription from now on; ``keep_alive`` is its revised keep-alive time in seconds."""
        now = asyncio.get_running_loop().time()
        self._begin(subscription, _Line(subscriber, keep_alive + self._pace.patience, now, 1, catching_up=False))

    def take_over(self, subscription: int, subscriber: Subscriber, keep_alive: float, expected: int, within: float) -> None:
        """Publish for a subscription that was another session's, and let it catch up first.

        ``expected`` is the number of its next message; the first must come ``within`` so many seconds: the values of now are asked for.
        """
        now, limit = asyncio.get_running_loop().time(), keep_alive + self._pace.patience
        line = _Line(subscriber, limit, now, expected, catching_up=True)
        line.at_first = min(within, limit)
        self._begin(subscription, line)

    def _begin(self, subscription: int, line: _Line) -> None:
        self._lines[subscription] = line
        self._wanted = max(self._pace.requests, len(self._lines) + 2)
        self._top_up()
        self._something.set()

    def accept(self, receipt: Receipt) -> None:
        """Acknowledge a message with one of the next PublishRequests."""
        self.acks.accept(receipt)

    def _top_up(self) -> None:
        while self._lines and self._outstanding < self._wanted and len(self._arrived) < _MOST_BACKLOG:
            acks = self.acks.take(_MOST_ACKS)
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(*ack) for ack in acks]
            future = self._session.publish(request)
            self._outstanding += 1
            future.add_done_callback(self._response)

    def _response(self, future: asyncio.Future[Any]) -> None:
        self._outstanding -= 1
        self._arrived.append(future)
        self._something.set()
        if not future.cancelled() and future.exception() is None:
            try:
                self._top_up()
            except DisconnectedError as error:
                self._log.debug("opcua.publish_stopped", error=str(error))  # `run` finds the same on its next turn

    async def run(self) -> None:
        """Handle responses in order. Raises DisconnectedError when the connection or a subscription is gone."""
        while True:
            try:
                async with asyncio.timeout_at(self._deadline()):
                    await self._something.wait()
            except TimeoutError:
                raise self._dead() from None
            self._something.clear()
            while self._arrived:
                await self._handle(self._arrived.popleft())
            self._check_silence()
            self._top_up()

    def _deadline(self) -> float | None:
        return min((line.deadline for line in self._lines.values()), default=None)

    def _silence(self) -> float:
        now = asyncio.get_running_loop().time()
        return max(now - line.heard for line in self._lines.values())

    def _dead(self) -> DisconnectedError:
        """Return the end of the connection; a subscription that said nothing at all after it was taken over is told so."""
        first = self._deadline()  # not the time of now: timers may go off early (uvloop counts in milliseconds)
        for line in self._lines.values():
            if line.taken_over and line.heard == line.added and line.deadline == first:
                line.subscriber.silent()
        return DisconnectedError(f"no publish response or keep-alive for {self._silence():.1f} s")

    def _check_silence(self) -> None:
        """Find a dead subscription also while another one keeps talking."""
        deadline = self._deadline()
        if deadline is not None and asyncio.get_running_loop().time() > deadline:
            raise self._dead()

    async def _handle(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            raise DisconnectedError("waiting for notifications: the request was cancelled")
        if (error := future.exception()) is not None:
            raise DisconnectedError(f"waiting for notifications: {error or type(error).__name__}") from error
        try:
            published = publish_response(bytes(future.result()))
        except DecodeError as error:
            # The number of the lost message is missing now: the check of the next one finds the hole and asks again.
            self._log.warning("opcua.undecodable", error=str(error))
            return
        if published.result >> 31 or published.message is None:
            self._refused(published.result)
            return
        line = self._lines.get(published.subscription)
        if line is None:
            self._log.info("opcua.unknown_subscription", subscription=published.subscription)
            return
        line.heard = asyncio.get_running_loop().time()
        self._in_vain = 0
        if line.taken_over and line.heard - line.added > _PROVEN * line.limit:
            line.taken_over = False
            line.subscriber.proven()
        await self._in_sequence(published.subscription, line, published.message)
        if line.catching_up and not published.more:
            line.catching_up = False
            line.subscriber.caught_up()

    def _refused(self, code: int) -> None:
        """Answer a publish fault: fewer requests where they were too many, else the subscription is gone."""
        if code == ua.StatusCodes.BadTooManyPublishRequests and self._in_vain < _MOST_IN_VAIN:
            # Several come at once: what was on its way when the first was refused is refused too.
            self._in_vain += 1
            if self._wanted > 1:
                self._wanted -= 1
                self._log.info("opcua.fewer_publish_requests", requests=self._wanted)
            return
        raise DisconnectedError(f"waiting for notifications: the server answers {status_text(code)}")

    async def _in_sequence(self, subscription: int, line: _Line, message: Message) -> None:
        distance = ahead(message.sequence, line.expected)
        if distance < 0:
            if not message.keep_alive:
                self.accept(Receipt(subscription, message.sequence))  # seen before; the server need not keep it
            return
        if distance > 0:
            await self._fill(subscription, line, message.sequence, distance)
        if message.keep_alive:
            return  # its number is that of the next message
        line.expected = following(message.sequence)
        self._deliver(subscription, line, message)

    async def _fill(self, subscription: int, line: _Line, until: int, missing: int) -> None:
        """Ask again for the messages before ``until``; declare what the server no longer has."""
        self._log.warning("opcua.hole", subscription=subscription, missing=missing)
        lost = 0 if missing <= _MOST_REPUBLISHED else missing
        while not lost and line.expected != until:
            message = await self._session.republish(subscription, line.expected)
            if message is None:
                lost = ahead(until, line.expected)
                break
            line.expected = following(line.expected)
            self._deliver(subscription, line, message)
        line.expected = until
        if lost:
            line.subscriber.hole(lost)

    def _deliver(self, subscription: int, line: _Line, message: Message) -> None:
        for code in message.changes:
            if code & 0xFFFF_0000 in _GONE:
                raise DisconnectedError(f"the server ended the subscription: {status_text(code)}")
            line.subscriber.status(code)
        line.subscriber.notified(message.rows, Receipt(subscription, message.sequence))
