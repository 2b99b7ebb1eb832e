"""One loss of a unit's data, from its beginning until everything that it can have hidden has been seen again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from edge_agent.events.reference import device_of
from edge_agent.events.registers import interval_text
from edge_agent.events.rule import Moment
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Gap, GapReason, Quality, Reading, Recovered

Loss = Literal["none", "unknown"] | Mapping[str, Any]
"""What may be missing: nothing, at most ``{"min": n, "max": n}`` samples, or nobody knows."""

EVERYTHING = "*"
"""Stands for all tags of a unit or, behind a device's name, of a device; and for any one of them where no counter is waited for."""

PRESENT = "."
"""Stands, behind a device's name, for its first sample that is not historical: everything that it had kept is in then."""


def usable(reading: Reading) -> bool:
    """Tell whether a sample says anything: bad ones do not, uncertain ones only by a value (OPC 10000-4, 7.39)."""
    return reading.quality is Quality.GOOD or (reading.quality is Quality.UNCERTAIN and reading.value is not None)


class Outage(msgspec.Struct, frozen=True):
    """A device (None: the agent) away since ``since`` (UTC ns, by the clock of its samples).

    ``up`` is the agent's time at which it came back (None: still away); from then on ``waiting`` are the counters without a good sample
    yet, ``until`` the newest of the first good samples, and ``recovered`` what the counters made up for, by name. ``unheard`` are the
    devices of which an agent that came back does not know yet whether they answer: a connection takes machine time, however fast the plant is.
    ``filled`` are the tags whose samples the device had kept: nothing of them is missing.
    """

    reason: GapReason
    device: str | None
    since: int
    up: int | None = None
    until: int = 0
    waiting: tuple[str, ...] = ()
    recovered: Mapping[str, int | float] = msgspec.field(default_factory=dict)
    unheard: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether everything waited for has been seen."""
        return self.up is not None and not self.waiting

    def concerns(self, ref: str) -> bool:
        """Tell whether tag ``ref`` was out of sight."""
        return self.device is None or device_of(ref) == self.device

    def again(self, since: int | None) -> Outage:
        """Return the outage after another loss before it was over: one loss, from the earliest last good sample on."""
        earliest = self.since if since is None else min(self.since, since)
        return msgspec.structs.replace(self, since=earliest, up=None, waiting=(), filled=())

    def covering(self, gap: Gap) -> Outage:
        """Return the outage with what a driver declares to be missing around it."""
        until = self.until if self.up is None else max(self.until, gap.until)
        return msgspec.structs.replace(self, since=min(self.since, gap.since), until=until)

    def has(self, refs: Collection[str]) -> bool:
        """Whether the device delivered later what the tags ``refs`` sampled: what is missing of them is a loss of its own."""
        return bool(self.filled) and set(refs) <= set(self.filled)

    def back(self, time: int, counters: Collection[str]) -> Outage:
        """Return the outage after the device (or the agent) came back at ``time``; from now on its ``counters`` are waited for."""
        waiting = tuple(sorted(ref for ref in counters if self.concerns(ref))) or (EVERYTHING,)
        unheard = tuple(sorted({device_of(ref) for ref in waiting if ref != EVERYTHING})) if self.device is None else ()
        return msgspec.structs.replace(self, up=time, until=max(time, self.until), waiting=waiting, unheard=unheard)

    def heard(self, device: str, time: int) -> Outage:
        """Return the agent's absence after ``device`` answered at ``time``: from then on its counters have time to tell."""
        if device not in self.unheard:
            return self
        rest = tuple(name for name in self.unheard if name != device)
        return msgspec.structs.replace(self, up=max(time, self.up or time), unheard=rest)

    def without(self, device: str) -> Outage:
        """Return the agent's absence after ``device`` turned out not to answer: what it hid is told by the device's own loss."""
        waiting = tuple(ref for ref in self.waiting if device_of(ref) != device)
        rest = tuple(name for name in self.unheard if name != device)
        return msgspec.structs.replace(self, waiting=waiting, unheard=rest)

    def seen(self, reading: Reading, *, historical: bool = False) -> Outage:
        """Return the outage after a sample: a usable one ends the wait for its tag, a present one that for what its device had kept."""
        outage, kept = self, f"{device_of(reading.tag)}.{PRESENT}"
        if self.up is not None and kept in self.waiting:
            if historical:  # it may take long to deliver; silence alone ends the wait
                outage = msgspec.structs.replace(self, up=max(self.up, reading.at.agent))
            else:
                rest = tuple(ref for ref in self.waiting if ref != kept)
                outage = msgspec.structs.replace(self, waiting=rest, until=max(self.until, reading.at.best))
        return outage.with_sample(reading)

    def with_sample(self, reading: Reading) -> Outage:
        """Return the outage after a sample of a tag, which ends the wait for it where it is usable."""
        if self.up is None or not self.waiting or not usable(reading) or not self.concerns(reading.tag):
            return self
        if reading.tag not in self.waiting and EVERYTHING not in self.waiting:
            return self
        waiting = tuple(ref for ref in self.waiting if ref not in {reading.tag, EVERYTHING})
        return msgspec.structs.replace(self, waiting=waiting, until=max(self.until, reading.at.best))

    def made_up(self, event: ProductionEvent) -> Outage:
        """Return the outage after a count across it."""
        counter = event.data["counter"]
        recovered = {**self.recovered, counter: self.recovered.get(counter, 0) + event.data["delta"]}
        return msgspec.structs.replace(self, recovered=recovered)

    def refilled(self, notice: Recovered, refs: Collection[str]) -> Outage:
        """Return the outage when a device delivers what it had kept; of the unit's tags ``refs`` those are no loss any more.

        It is over where the hole ends for the consumer, too: behind all of that, with the first sample of the present.
        """
        mine = {ref for ref in refs if device_of(ref) == notice.device and notice.covers(ref.partition(".")[2])}
        rest = tuple(ref for ref in self.waiting if ref not in mine)
        waiting = rest if self.up is None else tuple(sorted({*rest, f"{notice.device}.{PRESENT}"} - {EVERYTHING}))
        return msgspec.structs.replace(self, filled=tuple(sorted({*self.filled, *mine})), waiting=waiting)

    def missing(self, refs: Collection[str]) -> list[str]:
        """Return what of a unit's tags ``refs`` is missing, as a gap names it; empty = nothing is."""
        mine = sorted(ref for ref in refs if self.concerns(ref))
        if not self.filled or not mine:
            return self._all()
        rest = [ref for ref in mine if ref not in self.filled]
        touched = {device_of(ref) for ref in self.filled}
        whole = {device_of(ref) for ref in rest} - touched
        return [*(f"{device}.{EVERYTHING}" for device in sorted(whole)), *(ref for ref in rest if device_of(ref) not in whole)]

    def _all(self) -> list[str]:
        return [EVERYTHING if self.device is None else f"{self.device}.{EVERYTHING}"]

    def told(self, moment: Moment, refs: Collection[str] = ()) -> ProductionEvent:
        """Return the gap in a unit's tags ``refs``; what a counter did not make up for is not known, what came later in full is no loss."""
        interval, tags = (self.since, max(self.since, self.until)), self.missing(refs)
        lost: Loss = "unknown" if tags else "none"
        return gap_event(
            self.reason, interval, tags or self._all(), lost, moment=moment, device=self.device, recovered=self.recovered
        )


def gap_event(
    reason: GapReason,
    interval: tuple[int, int],
    tags: Collection[str],
    lost: Loss,
    *,
    moment: Moment,
    device: str | None = None,
    recovered: Mapping[str, float] | None = None,
) -> ProductionEvent:
    """Return a ``collection.gap``; its time is its end."""
    data = {
        "reason": reason,
        "device": device,
        "interval": interval_text(*interval),
        "tags": list(tags),
        "lost": lost,
        "recovered": dict(recovered or {}),
        "seq_from": None,
        "seq_to": None,
    }
    ctx = moment.picture.context
    return ProductionEvent(type="collection.gap", time=interval[1], data=data, ctx=ctx, interval=interval, correlation=ctx.order)
