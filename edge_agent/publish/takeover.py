"""Two programs with one client id: each connection ends the other's (MQTT 5, 3.1.4-3), for ever. Recognised, and answered by waiting. Pure."""

from __future__ import annotations

from collections import deque
from random import Random

_MEMORY = 600.0
"""Machine seconds for which a takeover is remembered."""

_SHORT = 10.0
"""A connection that the broker ends without a word within this time is suspect."""

_SUSPECT = 8
"""So many suspect ones in a row are a takeover that the broker does not name; fewer are a bad line, and a bad line is tried again soon."""

_GHOST = 60.0
"""Machine seconds in which a CONNECT of our own that nobody answered may still reach the broker: behind a black hole, in the queue of a broker that hung."""

_FIRST, _LONGEST = 30.0, 300.0


class Takeovers:
    """The takeovers of one client id. Some brokers say 0x8E; others just close, and then the rhythm tells."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311 - jitter
        self._times: deque[float] = deque(maxlen=20)
        self._short = 0
        self._ghosts: deque[float] = deque(maxlen=20)

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._times)

    def unanswered(self, now: float) -> None:
        """Note a CONNECT that was given up without an answer: when it arrives late, the broker ends our own next connection for it."""
        self._ghosts.append(now)

    def own(self, now: float) -> bool:
        """Say whether a named takeover may be the work of such a CONNECT; each excuses one, so that a second client is found all the same."""
        while self._ghosts and now - self._ghosts[0] > _GHOST:
            self._ghosts.popleft()
        if not self._ghosts:
            return False
        self._ghosts.popleft()
        return True

    def ended(self, *, named: bool, without_word: bool, lasted: float, now: float) -> float | None:
        """Judge the end of an accepted connection that ``lasted`` s; return the pause in s for a takeover, None for any other end.

        The pause doubles from 30 s up to 5 min, and is never the same twice, so that the two do not go on in step.
        """
        while self._times and now - self._times[0] > _MEMORY:
            self._times.popleft()
        self._short = self._short + 1 if without_word and (lasted < _SHORT or self._times) else 0
        if not named and self._short < (1 if self._times else _SUSPECT):
            return None
        self._times.append(now)
        bound = min(_FIRST * 2.0 ** (len(self._times) - 1), _LONGEST)
        return bound * (1 + self._random.random() / 2)
