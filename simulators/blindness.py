"""When nobody looked: what the agent declared, and what of that the injected faults explain.

Two sides that are kept apart. What may be missing, late or told otherwise is judged by the gaps that the agent *declared*, and by nothing
else: a loss that it kept silent about is a loss. The declarations themselves are judged by the faults that *were* there, and by what the agent
had told before: one that is wider than its cause, or narrower, is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from simulators.books import Books
from simulators.timed import Faulted
from simulators.vocabulary import SECOND

SAMPLING = 0.1
"""Plant seconds: one sampling interval, the tolerance of times that carry the PLC's own clock, and by which two tags of one scan differ."""

POLL = 0.5
"""Plant seconds: one poll, the tolerance of times that the agent took itself."""

UNDER_WAY = 0.2
"""Machine seconds before its last sign of life for which an agent that was killed declares that it may not know everything; times the speed."""

LEAST_UNDER_WAY = 0.5
"""Plant seconds that it declares at least: the time for which readings are put in order."""

TRANSIT = 0.3
"""Machine seconds by which a gap may begin before its fault; times the speed.

A kill takes along `UNDER_WAY` and what waits for the next commit (0.1 s machine time). On top come 2 x `POLL`: the clock of the PLC
ticks each second, so that its last sign of life may be so old in plant time.
"""

MACHINE = 0.05
"""Machine seconds that a polled value may be under way on a busy machine; times the demo's speed."""

RETURN = 30.0
"""Machine seconds in which an agent has to be back after a fault; times the speed: its start, a refused connection, the back-off after it.

The start of a program alone takes a dozen of them on a machine that has much else to do.
"""

FIRST_READ = 1.0
"""Machine seconds in which an agent that was started again has read from a connection what a server kept for it; times the speed."""

STATE_DEVICE = "plc1"
"""The device whose loss makes the machine's state unknown."""

Window = tuple[float, float]
"""Begin and end in plant seconds."""

INSTANT = 0.001
"""Plant seconds within which two written times are one: they are written in microseconds."""


@dataclass(frozen=True)
class Declared:
    """A ``collection.gap`` in plant seconds; ``device`` None: the agent's own absence, of all devices."""

    reason: str
    device: str | None
    begin: float
    end: float
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """What truly happened, the reason that a gap for it has, and when data may be missing for it: until the PLC is read again."""

    reason: str
    begin: float
    end: float
    back: float


class Blindness:
    """Declared gaps and true faults of one run."""

    def __init__(self, scenario: Faulted, books: Books, *, faults: bool, speed: float) -> None:
        """``faults`` tells whether the scenario's faults were injected; power-offs are the line's own and always there."""
        self.scenario, self.books, self.faults, self.speed = scenario, books, faults, speed

    # -- what was declared ---------------------------------------------------------------------------------------

    def gaps(self) -> list[Declared]:
        """Return the declared gaps but those of polls that came too late."""
        return [
            Declared(data["reason"], data.get("device"), *self.interval(data), tuple(data["tags"]))
            for _, data in self.books.gaps
            if data["reason"] != "sampling_overrun"
        ]

    def interval(self, data: dict[str, Any]) -> Window:
        """Return the interval of a declared gap; one without a beginning is where it ends."""
        begin, end = data["interval"]
        first = self.books.t(begin or end)
        return first, self.books.t(end) if end else first

    def of(self, device: str = STATE_DEVICE, *, tags: bool = False) -> list[Window]:
        """Return when nothing of a device was seen, as declared; with ``tags`` also when one of its tags was not."""
        return merged(
            (gap.begin, gap.end)
            for gap in self.gaps()
            if gap.reason == "agent_down" or (gap.device == device and (gap.reason == "comm_loss" or tags))
        )

    def around(self, time: float, device: str = STATE_DEVICE, *, tags: bool = False) -> Window | None:
        """Return the declared blindness that ``time`` lies in: tags of one scan differ by a sampling."""
        return next((w for w in self.of(device, tags=tags) if w[0] - SAMPLING <= time <= w[1] + SAMPLING), None)

    def hidden(self, begin: float, end: float | None, device: str = STATE_DEVICE) -> bool:
        """Return whether all of [begin, end] lies in one declared blindness: it may have passed unseen."""
        found = self.around(begin, device)
        return found is not None and end is not None and end <= found[1] + SAMPLING

    @property
    def late(self) -> float:
        """Plant seconds after a gap's end at which what was found there is told: the first poll, and its way."""
        return POLL + MACHINE * self.speed

    # -- what truly was ------------------------------------------------------------------------------------------

    def true(self) -> list[Fault]:
        """Return the power-offs, and the faults that were injected."""
        injected = self.scenario.faults
        away = [("comm_loss", reboot.off, reboot.on) for reboot in self.scenario.machine.reboots]
        if self.faults:
            away += [("comm_loss", *cut) for cut in injected.link_cuts] + [("agent_down", *kill) for kill in injected.agent_kills]
        found = [Fault(reason, begin / SECOND, end / SECOND, self._back(end / SECOND)) for reason, begin, end in away]
        bad = [one.window for one in injected.bad_status] if self.faults else []
        return found + [Fault("bad_quality", begin / SECOND, end / SECOND, end / SECOND) for begin, end in bad]

    def _back(self, end: float) -> float:
        """Return when the PLC was read again after a fault that ended then; an agent that takes longer than `RETURN` has no excuse."""
        read_again = (t for t, name, data in self.books.agent if name == "device.connected" and data["device"] == STATE_DEVICE)
        back = min((t for t in read_again if t >= end), default=end)
        return back if back - end < RETURN * self.speed else end

    def windows(self, *, bad: bool) -> list[Window]:
        """Return where a gap has its place: from what may have been under way until the first polls of the return; of ``bad`` samples or of absence."""
        return merged(
            (fault.begin - 2 * POLL - TRANSIT * self.speed * (not bad), fault.back + 2 * POLL)
            for fault in self.true()
            if (fault.reason == "bad_quality") is bad
        )

    def astray(self) -> list[Declared]:
        """Return the gaps that no fault of their kind explains, that reach beyond it, or into what was told."""
        return [gap for gap in self.gaps() if not self._has_cause(gap)]

    def _has_cause(self, gap: Declared) -> bool:
        if gap.end <= INSTANT:
            return (
                True  # the plant has not begun, nothing was made that could be missing: a busy machine may lose a first connection
            )
        causes = [f for f in self.true() if f.reason == gap.reason and gap.begin <= f.back + 2 * POLL and gap.end >= f.begin]
        late = FIRST_READ * self.speed if gap.reason == "agent_down" else 0.0
        place = next((w for w in self.windows(bad=gap.reason == "bad_quality") if w[0] <= gap.end <= w[1] + late), None)
        if not causes or place is None:
            return False
        if gap.reason == "bad_quality":
            return place[0] <= gap.begin and not any(tag.endswith("*") for tag in gap.tags)
        if gap.reason == "comm_loss" and gap.device != STATE_DEVICE:
            return False
        known = self._last_word(gap.reason, min(cause.begin for cause in causes))
        return gap.begin >= known - INSTANT and (place[0] <= gap.begin or gap.reason == "agent_down")

    def _last_word(self, reason: str, begin: float) -> float:
        """Return up to when the agent surely knew: nothing before it may be declared lost by a fault that began at ``begin``.

        A lost PLC: the newest time of the PLC's own that was told. A killed agent: its last record, less what it says may have been under
        way; that alone bounds it, for one that had nothing to record may have been silent for long.
        """
        if reason == "comm_loss":
            return max((time for time, recorded, source in self.books.told if source and recorded < begin), default=0.0)
        under_way = max(LEAST_UNDER_WAY, UNDER_WAY * self.speed)
        return max((recorded for _, recorded, _ in self.books.told if recorded < begin), default=under_way) - under_way

    def undeclared(self) -> list[Fault]:
        """Return the faults that are not declared from their beginning to their end.

        A fault takes hold, and lets go, within a sampling and the time that a busy machine needs.
        """
        slack = SAMPLING + MACHINE * self.speed
        blind, partly = self.of(), self.of(tags=True)
        return [
            fault
            for fault in self.true()
            if not any(
                begin <= fault.begin + slack and end >= fault.end - slack
                for begin, end in (partly if fault.reason == "bad_quality" else blind)
            )
        ]


def merged(windows: Iterable[Window]) -> list[Window]:
    """Return windows that lie apart, in order."""
    found: list[Window] = []
    for begin, end in sorted(windows):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found
