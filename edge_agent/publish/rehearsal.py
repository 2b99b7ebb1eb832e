"""What a connection shows before a message goes on trial: that it stands without it, and that the broker takes others of more bytes.

What is shown are retained documents that the broker has taken on this connection already: sent again, each says what is kept there anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from edge_agent.publish.closings import Course, Named

_PROMPT = 2.0
"""Machine seconds within which a broker that means a message has closed, beside what a larger rehearsal took."""

_MOST = 1_000
"""Messages of one rehearsal; what would need more has no trial."""


class Letter(NamedTuple):
    """A message as it goes out; ``properties`` as bytes."""

    named: Named
    payload: bytes
    properties: bytes
    retain: bool


class Rehearsal:
    """What one connection has taken, and shows. ``post`` sends a letter on a place of the window that is held, and gives its answer."""

    def __init__(self, post: Callable[[Letter], asyncio.Future[int]], ended: asyncio.Future[None]) -> None:
        """Begin with the connection; ``ended`` is done when that is."""
        self._post = post
        self._ended = ended
        self._clock = ended.get_loop().time
        self._began = self._clock()
        self._kept: dict[str, Letter] = {}
        self._size = self._messages = 0
        self._until: float | None = None

    @property
    def so_far(self) -> Course:
        """What the connection has gone through."""
        return Course(self._clock() - self._began, self._size, self._messages)

    def left(self, letter: Letter) -> None:
        """Note what is being sent: what was kept on its topic is the past."""
        self._until = None
        self._kept.pop(letter.named.topic, None)

    def taken(self, letter: Letter) -> None:
        """Note what was acknowledged with success."""
        self._size += letter.named.size
        self._messages += 1
        if letter.retain and letter.payload:
            self._kept[letter.named.topic] = letter

    async def show(self, proof: Course, suspect: Named) -> float | None:
        """Be quiet, then send what is kept until it is enough; return what that took (machine seconds), None when there is too little to show.

        Raises DisconnectedError when the connection ends meanwhile: then no message was meant.
        """
        largest = max((kept for topic, kept in self._kept.items() if topic != suspect.topic), key=_size, default=None)
        if largest is None or _MOST * _size(largest) < proof.size:
            return None
        await asyncio.wait([self._ended], timeout=proof.age)
        began, size, messages = self._clock(), self._size + proof.size, self._messages + proof.messages
        while self._size < size or self._messages < messages:
            self.left(largest)
            if await self._post(largest) >= 0x80:
                return None
            self.taken(largest)
        return self._clock() - began

    def on_trial(self, took: float) -> None:
        """Note that the message on trial has just left, after a rehearsal of ``took`` machine seconds."""
        self._until = self._clock() + _PROMPT + took

    def trial(self) -> Course | None:
        """Return the course of a trial that ends now, if this is one and the end came promptly."""
        return None if self._until is None or self._clock() > self._until else self.so_far


def _size(letter: Letter) -> int:
    return letter.named.size
