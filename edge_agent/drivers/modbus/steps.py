"""Who is in step on a wire whose answers carry no number, and how long it must be silent before it is believed (pure)."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 2.0
_SHORTEST: Final = 0.1


class Steps:
    """What is known of the units behind one endpoint, across its connections: who is in step, and the largest latency seen."""

    def __init__(self, timeout: float) -> None:
        """Nobody is in step; before the first answer ``timeout`` (machine seconds) stands for the latency."""
        self.in_step: set[int] = set()
        self._timeout = timeout
        self._latency: float | None = None

    @property
    def quiet(self) -> float:
        """Machine seconds without a byte after which nothing late is expected any more."""
        if self._latency is None:
            return min(self._timeout, _LONGEST)
        return min(max(self._latency, min(self._timeout, _SHORTEST)), _LONGEST)

    def seen(self, latency: float) -> None:
        """Take note of an answer, also of a late one."""
        self._latency = max(latency, self._latency or 0.0)
