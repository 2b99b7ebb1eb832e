"""Which broker of a list is next. Pure: places in the list and machine times in s.

The first of the list is the preferred one. A broker that cannot be had makes room for the next; a connection that is lost begins at the
first again, unless it was too short to count. A broker that refuses for a reason which only a person can change is left alone for a while.
"""

from __future__ import annotations

_SHORT = 10.0
_BARRED = 30.0


class Order:
    """The order of ``size`` brokers."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._barred: dict[int, float] = {}

    def next(self, now: float) -> int:
        """Return whom to try: the next one that is not barred, or the next one if all are."""
        for step in range(self._size):
            place = (self._next + step) % self._size
            if self._barred.get(place, now) <= now:
                return place
        return self._next

    def failed(self, place: int, now: float, *, slow: bool) -> bool:
        """Note that ``place`` could not be had; return whether another one may be tried at once (it has not refused lately)."""
        if slow:
            self._barred[place] = now + _BARRED
        self._next = (place + 1) % self._size
        return any(self._barred.get(other, now) <= now for other in range(self._size))

    def lost(self, place: int, lasted: float) -> None:
        """Note that a connection to ``place`` ended after ``lasted`` s."""
        self._next = 0 if lasted > _SHORT else (place + 1) % self._size

    def back(self, place: int) -> None:
        """Go to ``place`` next: it answers again."""
        self._next = place

    def better(self, place: int, now: float) -> tuple[int, ...]:
        """Return the places before ``place`` that are worth a look."""
        return tuple(earlier for earlier in range(place) if self._barred.get(earlier, now) <= now)
