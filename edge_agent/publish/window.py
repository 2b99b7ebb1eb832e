"""What is in flight on one connection: never more than the receiver allows, first come first served, each with its own answer.

The library would send everything it holds and would wait for ever; so the count, the order and the clock are kept here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.closings import Named

NOBODY = Named("", "")
"""Not in flight."""


class _Sent:
    __slots__ = ("answer", "code", "held", "name", "since")

    def __init__(self, answer: asyncio.Future[int], since: float, name: Named, held: bool) -> None:
        self.answer = answer
        self.since = since
        self.code: int | None = None
        self.name = name
        self.held = held


class Window:
    """At most ``size`` messages in flight. Used from one event loop only."""

    def __init__(self, size: int, clock: asyncio.AbstractEventLoop) -> None:
        self.size = size
        self._loop = clock
        self._sent: dict[int, _Sent] = {}
        self._taken = 0
        self._turning = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._first_since = 0.0
        self._shut = False
        self._failure: DisconnectedError | None = None

    @property
    def in_flight(self) -> int:
        """How many messages were sent and have no answer yet, abandoned ones included: the receiver counts them too."""
        return len(self._sent)

    def raise_failure(self) -> None:
        """Raise what ended the connection, if it has ended."""
        if self._failure is not None:
            raise self._failure

    async def take(self) -> None:
        """Wait for a free place, in the order of asking. Does not yield to the loop when one is free and nobody waits."""
        self.raise_failure()
        if self._taken < self.size and not self._queue and not self._turning and not self._shut:
            self._taken += 1
            return
        turn = self._loop.create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._turned()
                self.give_back()  # the place came together with the cancellation
            raise
        self._turned()
        self.raise_failure()  # the place came, and the connection ended before this task ran

    def give_back(self) -> None:
        """Return a place that was taken and not used, or whose message is answered; the longest waiting gets it."""
        self._taken -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._taken < self.size and not self._shut:
            turn = self._queue.popleft()
            if not turn.done():
                self._taken += 1
                self._turning += 1
                turn.set_result(None)

    def _turned(self) -> None:
        """Somebody who was given a place has come: until all of them have, nobody may pass them."""
        self._turning -= 1
        if not self._turning:
            self._admit()

    def shut(self) -> None:
        """Let nobody in any more: who waits for a place waits for the end."""
        self._shut = True

    def sent(self, mid: int, name: Named = NOBODY, *, held: bool = False) -> asyncio.Future[int]:
        """Note that message ``mid`` left on the taken place; the future gets the reason code of its acknowledgement.

        ``name`` is the same at every try of this message. The answer does not free a place that is ``held``. Cancelling the future does not free the place: the receiver still has the message.
        """
        answer: asyncio.Future[int] = self._loop.create_future()
        self._sent[mid] = _Sent(answer, self._loop.time(), name, held)
        return answer

    def acknowledge(self, mid: int, code: int) -> None:
        """Answer message ``mid``; one that is not in flight is ignored (3.4: a receiver may err, the count must not).

        An acknowledgement that comes before that of an earlier message, which 4.6 forbids, waits for it: should the earlier one be refused, the
        later ones have to be sent again behind it, for their consumer has them in the wrong order.
        """
        sent = self._sent.get(mid)
        if sent is None or sent.code is not None:
            return
        sent.code = code
        while (first := next(iter(self._sent), None)) is not None and (answered := self._sent[first]).code is not None:
            del self._sent[first]
            self._first_since = self._loop.time()
            if not answered.answer.done():
                answered.answer.set_result(answered.code)
            if not answered.held:
                self.give_back()
        if not self._sent and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def name(self, mid: int) -> Named:
        """Return the name of message ``mid``, `NOBODY` when it is not in flight."""
        sent = self._sent.get(mid)
        return NOBODY if sent is None else sent.name

    def flight(self) -> list[Named]:
        """Return the names of what is in flight, oldest first."""
        return [sent.name for sent in self._sent.values()]

    def resize(self, size: int) -> None:
        """Allow ``size`` in flight from now on, and let in who waits for that."""
        self.size = size
        self._admit()

    def oldest(self, since: float = 0.0) -> float:
        """Return how many seconds the oldest message in flight has been waiting, 0.0 when there is none.

        It waits since it was sent and since it is the oldest: on a slow line, the last of a window has all the others before it.
        The time before ``since`` does not count.
        """
        for sent in self._sent.values():  # in the order of sending
            return self._loop.time() - max(sent.since, self._first_since, since)
        return 0.0

    async def idle(self) -> None:
        """Wait until nothing is in flight, or the connection has ended."""
        if self._sent and self._failure is None:
            self._idle = self._loop.create_future()
            await self._idle

    def fail(self, error: DisconnectedError) -> None:
        """End everything: who waits for an answer or for a place gets ``error``, and so does everyone later."""
        if self._failure is not None:
            return
        self._failure = error
        waiting: list[asyncio.Future[Any]] = [*(sent.answer for sent in self._sent.values()), *self._queue]
        self._sent.clear()
        self._queue.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # read here, so that a waiter that was cancelled meanwhile leaves no warning
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
