"""How far each device's data have come, in the device's own clock.

Every device stamps with a clock of its own: a PLC may run an hour behind, a Modbus device has none and is stamped on arrival. What is late,
what merely repeats an old stamp and up to when a unit is complete are therefore judged per device, never across devices.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

LATENESS = 5_000_000_000
"""Less than this is the ordinary delay of sampling, publishing and the network (ns, plant time)."""

_DRIFT = 2_000_000_000  # a clock that differs less keeps the offset it has: noise of the delay must not become a change of state


STEP = 500_000_000
"""A clock that was asked and differs by more from what it was has been set (ns)."""

_PROOF = 1_000_000_000
"""How long stamps of the past go on before they are a step of the clock (ns, plant time)."""

_PACE = 500_000_000
"""How evenly they go on (ns)."""


class DeviceClock(msgspec.Struct, frozen=True):
    """One device's clock as seen from the agent; all times UTC ns.

    ``measured`` is the offset as the driver measured it by asking the device (None: it has no clock that can be asked, or was not asked yet).
    ``reached`` is the device time up to which its data are in; ``offset`` its clock minus the agent's (ns, kept while it is
    within 2 s). Stamps up to ``standing`` were known before the connection: such a value still stands, it did not change
    then; None = the first rows say. ``live`` is False from a loss until the first rows after it. ``suspect`` is the first of the samples that
    seem to come from the past, (its time, when it was received), None where the last ones do not.
    """

    reached: int = 0
    offset: int = 0
    standing: int | None = 0
    live: bool = False
    measured: int | None = None
    suspect: tuple[int, int] | None = None

    @property
    def returning(self) -> bool:
        """Whether the device is connected again but has delivered nothing since."""
        return not self.live and self.standing != 0

    def lost(self, last_good: int | None) -> DeviceClock:
        """Return the clock after a loss: it stops at the last good sample, so that what comes back with its own time is not late."""
        reached = self.reached if last_good is None or not self.reached else min(self.reached, last_good)
        return msgspec.structs.replace(self, reached=reached, live=False)

    def asleep(self, since: int) -> DeviceClock:
        """Return the clock after the agent was away from ``since`` (agent's UTC ns) on."""
        return msgspec.structs.replace(self, reached=since + self.offset, standing=since + self.offset, live=False)

    def connected(self) -> DeviceClock:
        """Return the clock after a new connection: what carries a stamp up to here is a standing value."""
        return msgspec.structs.replace(self, standing=self.reached or None)

    def told(self, newest: int) -> DeviceClock:
        """Return the clock after what was sampled while nobody listened, up to ``newest``; what stood before the connection stays standing."""
        return self if newest <= self.reached else msgspec.structs.replace(self, reached=newest)

    def stamped(self, newest: int, received: int) -> DeviceClock:
        """Return the clock after rows whose newest stamp was ``newest`` (0: none had one), received at ``received``."""
        offset, now = self.offset, received
        if newest:
            offset = newest - received if newest > self.reached and abs(newest - received - self.offset) > _DRIFT else self.offset
            now = newest
        reached = max(self.reached, now)
        standing = reached if self.standing is None else self.standing
        if self.live and reached == self.reached and offset == self.offset:
            return self
        measured = (
            offset if offset != self.offset and self.measured is not None else self.measured
        )  # a step: what was measured is over
        return DeviceClock(reached, offset, standing, live=True, measured=measured)

    def judged(self, newest: int, received: int) -> DeviceClock:
        """Return the clock with a step back taken in, where the rows whose newest stamp is ``newest``, received at ``received``, prove one.

        What is late once may be an old sample. Where nothing newer came for a second, and the stamps went on as time did, the clock was set back.
        """
        if not self.live or not newest or newest >= self.reached - _DRIFT:
            return self if self.suspect is None or not newest else msgspec.structs.replace(self, suspect=None)
        first, at = self.suspect or (newest, received)
        if received - at < _PROOF or abs((newest - first) - (received - at)) > _PACE:
            steady = self.suspect is not None and abs((newest - first) - (received - at)) <= _PACE
            return self if steady else msgspec.structs.replace(self, suspect=(newest, received))
        return msgspec.structs.replace(self.set_back(newest - received), reached=newest)

    def set_back(self, offset: int) -> DeviceClock:
        """Return the clock after it was set back to ``offset`` against the agent's: what came so far came then, by its new time."""
        by = self.offset - offset
        measured = None if self.measured is None else offset
        standing = None if self.standing is None else max(0, self.standing - by)
        return DeviceClock(max(0, self.reached - by), offset, standing, self.live, measured)

    def ticked(self, now: int) -> DeviceClock:
        """Return the clock after the agent's time passed ``now`` while nothing came: a silent device has nothing to tell."""
        if not self.live or now + self.offset <= self.reached:
            return self
        return msgspec.structs.replace(self, reached=now + self.offset)

    def late(self, time: int, window: int) -> bool:
        """Tell whether a sample of ``time`` is older than what the device already delivered, by more than ``window`` ns."""
        return self.live and time < self.reached - window


def watermark(clocks: Iterable[DeviceClock], now: int, window: int) -> int:
    """Return T: no event with ``time <= T`` will follow unless it is flagged late. A lost device holds T at its last good sample."""
    return min((clock.reached for clock in clocks if clock.reached), default=now) - window
