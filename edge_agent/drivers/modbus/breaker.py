"""The circuit breaker of one device: what a device that does not answer, or hardly, may cost those that share its connection (pure).

One request is under way on a connection at a time, so waiting for a dead device is time taken from all others. Its first silence costs the
whole timeout, a second, shorter wait confirms it; after that it is asked again (probed) so rarely, and waited for so shortly, that all probes of
an endpoint together take `SHARE` of its time. All times are machine seconds.
"""

from __future__ import annotations

SHARE = 0.04
"""Part of an endpoint's time that devices which do not answer in time may cost the others."""

SILENT_LIMIT = 2
"""Unanswered polls in a row after which a device is down although others answer."""

INVALID_LIMIT = 3
"""Invalid answers in a row after which a device is down."""

_TOLERATED = 2.5
"""Timeouts that a device may waste at once before it counts as one that answers only now and then; paid back at `SHARE`."""

_SHORTEST_PROBE = 0.5
_SHORTEST_WAIT = 0.05
_CERTAIN = 4
"""Every so many probes of a device that never answered its whole timeout is waited: nothing says how quick it is."""


class Breaker:
    """How long to wait for a device, and when to ask it again."""

    def __init__(self, timeout: float, interval: float, *, shared: bool) -> None:
        """``timeout``: how long one answer may take; ``interval``: how often a silent device should be asked.

        ``shared``: others wait while this device is waited for. A device alone on its connection is never given less than its timeout.
        """
        self.misses = 0
        self.excused = 0
        self.next_at = 0.0
        self.slowest = 0.0
        self.timeout = timeout
        self._interval = interval
        self._shared = shared
        self._open = False
        self._probes = 0
        self._wasted = 0.0
        self._paid = 0.0
        self._extra = 0.0
        self._wait_factor = 1.0
        self._gateway = 0.0

    @property
    def doubted(self) -> bool:
        """Whether less than the whole timeout may be waited for the device."""
        return self._shared and (self._open or self.misses > 0 or self._wasted > self.timeout / 2)

    def patience(self, dead: int, hint: float) -> float:
        """Return how long to wait for an answer: the timeout, or less for a device in doubt while ``dead`` devices are being probed.

        ``hint`` is what an answer of this endpoint takes, for a device that never gave one.
        """
        if not self.doubted:
            return self.timeout
        if self._open and not self.slowest and self._probes % _CERTAIN == _CERTAIN - 1:
            return self.timeout
        usual = max(2.0 * (self.slowest or hint), 1.5 * self._gateway)
        return min(self.timeout, max(SHARE * self._interval / max(1, dead) - self._extra, usual, _SHORTEST_WAIT))

    def answered(self, now: float, slowest: float, took: float) -> bool:
        """Take note of a poll whose slowest answer took ``slowest``; returns whether that was slow: more than half the timeout.

        A device that stays slow is asked less often where others share the connection, for they wait for it, too.
        """
        self._pay(now)
        self.misses, self.excused, self._open, self._probes = 0, 0, False, 0
        self.slowest = max(slowest, 0.98 * self.slowest)
        slow = slowest > self.timeout / 2
        if slow:
            self._waste(took)
            if self._shared and self._wasted > _TOLERATED * self.timeout:
                self.next_at = now + took / SHARE
        return slow

    def missed(self, now: float, cost: float, *, clean: bool) -> None:
        """Take note of a poll without answer that took ``cost`` in all; ``clean``: a gateway said so itself, after that time."""
        self._pay(now)
        self.misses += 1
        self._waste(cost)
        if clean:
            self._gateway = cost

    def broken(self, limit: int) -> bool:
        """Whether the device is to be given up: ``limit`` misses in a row, or too much time wasted with answers in between."""
        return self._open or self.misses >= limit or (self._shared and self._wasted > _TOLERATED * self.timeout)

    def trip(self, now: float, cost: float, waited: float, dead: int) -> None:
        """Give up, or stay given up: the next probe is as far away as this try, with what it cost besides the ``waited``, allows."""
        first = not self._open
        self._open = True
        self._probes += not first
        self._extra = max(0.0, cost - waited)
        self._wait_factor = max(1, dead) / SHARE
        wait = min(cost, SHARE * self._interval / max(1, dead)) if first else cost  # it was alive: it may be back soon
        self.next_at = now + max(wait * self._wait_factor, min(_SHORTEST_PROBE, self._interval))

    def blame(self, cost: float) -> None:
        """Count ``cost`` more for the last miss: others waited because a gateway was still busy with this device."""
        self._extra += cost
        self._waste(cost)
        if self._open:
            self.next_at += cost * self._wait_factor

    def rest(self, now: float) -> None:
        """Ask again after the interval: who answers there is not who should."""
        self._open = True
        self.next_at = now + self._interval

    def rests(self, now: float) -> bool:
        """Whether the device is not to be asked yet."""
        return now < self.next_at

    def _waste(self, cost: float) -> None:
        self._wasted = min(self._wasted + cost, (_TOLERATED + 0.5) * self.timeout)

    def _pay(self, now: float) -> None:
        self._wasted = max(0.0, self._wasted - SHARE * (now - self._paid))
        self._paid = now


class Pace:
    """How fast connections may follow each other: a few at once, then at a steady rate. A device that closes after each answer stays alive."""

    def __init__(self, burst: int = 20, rate: float = 10.0) -> None:
        """Allow ``burst`` connections at once and ``rate`` a second in the long run."""
        self._burst = burst
        self._rate = rate
        self._spent = 0.0
        self._at = 0.0

    def wait(self, now: float) -> float:
        """Count one connection; returns how many seconds to wait before it."""
        self._spent = max(0.0, self._spent - (now - self._at) * self._rate) + 1.0
        self._at = now
        return max(0.0, (self._spent - self._burst) / self._rate)
