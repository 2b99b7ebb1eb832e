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

_FIRST, _LONGEST = 30.0, 300.0


class Takeovers:
    """The takeovers of one client id. Some brokers say 0x8E; others just close, and then the rhythm tells."""

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or Random()  # noqa: S311 - jitter
        self._times: deque[float] = deque(maxlen=20)
        self._short = 0

    @property
    def count(self) -> int:
        """How many are remembered."""
        return len(self._times)

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
