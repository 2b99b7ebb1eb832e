"""One counting register followed through samples, losses and restarts: what counter and energy rules share.

The baseline (``last`` at ``ts``) moves only with a usable sample. Whatever may hide a reset or a wrap in between, a lost device, the
agent's own absence, a declared gap, a bad sample, marks the next difference as recovered, and is remembered on disk with it.

What is told besides samples stands in `losses.py`. How long a register had to count is measured from its last sample. A value that is
subscribed and stands brings none: ticks while its device answers say until when it seems to have stood (``stood``). That much silence is
believed where a fall is to be explained, else a reset after a night of standstill near the modulus would pass for a rollover; it is
never held against a rise. Equal samples and ticks move these times only in steps of ``stale_after``, so that a standing machine
costs no commit: the times are early rather than late, which allows a little more, never less.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from edge_agent.events.advance import Advance, Kind, Register, Sign, advance
from edge_agent.events.restart import BootMark
from edge_agent.model.reading import Quality, Reading, Timestamps

_DINT_MASK = 0xFFFF_FFFF
_NOT_WHOLE = 0.01  # raw units; scaling and unscaling in doubles stays far below


class Sighting(msgspec.Struct, frozen=True):
    """A usable sample: the register's content, by its own clock and by the agent's (UTC ns); ``asked`` as in `Timestamps`."""

    raw: int
    ts: int
    agent: int
    asked: int | None = None


class Tally(msgspec.Struct, frozen=True):
    """Where a register stands.

    ``last`` (None: never seen) was sampled at ``ts`` (its own clock) = ``agent`` (the agent's clock, UTC ns both; not before ``asked``), and stood, as
    silence tells, until ``stood`` (the agent's clock). ``total`` is the sum of all that was counted. ``broken`` = something that may hide parts lies behind ``last``.
    ``held`` is a sample that nothing explains yet; the next one confirms it or shows that it was an outlier. ``sign`` with its words
    ``why`` is evidence of a reset not yet met by a sample; ``gauge`` is the evidence tag's value, ``reset_at`` (agent time) the last reset.
    """

    last: int | None = None
    ts: int = 0
    agent: int = 0
    total: int = 0
    good: bool = True
    broken: bool = False
    stood: int | None = None
    held: Sighting | None = None
    sign: Sign | None = None
    why: tuple[str, ...] = ()
    boot: BootMark = BootMark()
    gauge: int | float | None = None
    gauge_at: int = 0
    reset_at: int | None = None
    asked: int | None = None


class Move(msgspec.Struct, frozen=True):
    """What one sample told: ``delta`` counted in (since, until], and what was special about it (``kind`` None: nothing).

    ``total`` is the sum of all that was counted, this move included.
    """

    before: int | None
    after: int
    delta: int
    total: int
    since: int
    until: int
    kind: Kind | None = None
    uncounted: tuple[int, int] = (0, 0)
    evidence: tuple[str, ...] = ()
    recovered: bool = False


@dataclass(frozen=True)
class Watch:
    """Which register is followed, and how its samples become raw integers: ``value = raw * scale + offset``.

    ``evidence`` is the ``device.tag`` that goes down at a reset; ``stale_after`` and the sampling ``period`` in ns.
    """

    device: str
    tag: str
    register: Register
    scale: float = 1.0
    offset: float = 0.0
    signed: bool = False
    evidence: str | None = None
    stale_after: int = 10_000_000_000
    period: int = 0

    @property
    def ref(self) -> str:
        """The tag as readings name it."""
        return f"{self.device}.{self.tag}"

    def raw(self, reading: Reading) -> int | None:
        """Return the register's content, None when the sample has none that could be used (bad, no number, not whole)."""
        value = reading.value
        if reading.quality is Quality.BAD or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if isinstance(value, int) and self.scale == 1.0 and not self.offset:
            raw = value
        else:
            exact = (value - self.offset) / self.scale
            if not isfinite(exact) or abs(exact - round(exact)) > _NOT_WHOLE:
                return None
            raw = round(exact)
        return raw & _DINT_MASK if self.signed and raw >= -(1 << 31) else raw

    def fits(self, raw: int) -> bool:
        """Tell whether the register can hold ``raw`` at all."""
        return raw >= 0 and (self.register.modulus is None or raw < self.register.modulus)


def sample(watch: Watch, tally: Tally, reading: Reading) -> tuple[Tally, tuple[Move, ...]]:
    """Take in a sample; return the new tally and what it told (nothing for a value that stands)."""
    raw = watch.raw(reading)
    at = reading.at
    if raw is None or not watch.fits(raw):
        return _unusable(tally, raw, at)
    seen = Sighting(raw, at.best, at.agent, at.asked)
    if tally.last is None:
        return _counted(tally, seen, Advance(0)), (Move(None, raw, 0, tally.total, at.best, at.best, "baseline"),)
    if raw == tally.last and tally.good and not tally.broken and tally.sign is None and tally.held is None:
        known = 0 <= at.agent - tally.agent < watch.stale_after
        return (tally if known else change(tally, ts=at.best, agent=at.agent, asked=at.asked, stood=None)), ()
    tally, doubts = _resolve(watch, tally, seen)
    step = _judge(watch, tally, seen)
    if step.held:
        return change(tally, held=seen, good=True), doubts
    told = step.kind is not None or step.delta != 0
    return _counted(tally, seen, step), (*doubts, _move(tally, seen, step)) if told else doubts


def _unusable(tally: Tally, raw: int | None, at: Timestamps) -> tuple[Tally, tuple[Move, ...]]:
    """Leave the baseline where it is; a number that the register cannot hold is told once."""
    if not tally.good and (tally.broken or tally.last is None):
        return tally, ()
    told: tuple[Move, ...] = ()
    if raw is not None:
        since = at.best if tally.last is None else min(tally.ts, at.best)
        told = (Move(tally.last, raw, 0, tally.total, since, at.best, "implausible", evidence=("out_of_range",)),)
    return change(tally, good=False, broken=tally.last is not None), told


def _resolve(watch: Watch, tally: Tally, seen: Sighting) -> tuple[Tally, tuple[Move, ...]]:
    """Judge a held sample by the one after it: followed by plain counting it was real (and is not counted), else an outlier."""
    held = tally.held
    if held is None:
        return tally, ()
    onward = advance(held.raw, seen.raw, _elapsed(watch, held, seen), watch.register)
    if onward.kind in (None, "rollover"):
        real = _judge(watch, tally, held)
        return _counted(tally, held, real), (_move(tally, held, real),)
    freed = change(tally, held=None)
    if _judge(watch, tally, seen).held:
        return freed, ()  # neither fits: the newest one is held instead
    outlier = Move(tally.last, held.raw, 0, tally.total, min(tally.ts, held.ts), held.ts, "implausible", evidence=("outlier",))
    return freed, (outlier,)


def _judge(watch: Watch, tally: Tally, seen: Sighting) -> Advance:
    silent = (
        tally.stood is not None and not tally.broken
    )  # a loss bounds the interval, but its clocks are not trusted with a verdict
    unseen = max(seen.ts - _since(tally), seen.agent - (tally.stood or 0), 0) if silent else None
    return advance(baseline(tally), seen.raw, _elapsed(watch, tally, seen), watch.register, tally.sign, unseen=unseen)


def _elapsed(watch: Watch, before: Tally | Sighting, seen: Sighting) -> int:
    """Return the ns between two samples: of two clocks the longer; when both ran backwards, ``stale_after``.

    An answer that was long on its way was sampled soon after it was asked for: what came right behind it would seem too fast.
    """
    since = before.agent if before.asked is None else min(before.asked, before.agent)
    elapsed = max(seen.ts - before.ts, seen.agent - since)
    return elapsed if elapsed >= 0 else watch.stale_after


def _since(tally: Tally) -> int:
    """Return until when the value stood, by its own clock."""
    return tally.ts if tally.stood is None else tally.ts + tally.stood - tally.agent


def _move(tally: Tally, seen: Sighting, step: Advance) -> Move:
    return Move(
        before=tally.last,
        after=seen.raw,
        delta=step.delta,
        total=tally.total + step.delta,
        since=min(_since(tally), seen.ts),
        until=seen.ts,
        kind=step.kind,
        uncounted=step.uncounted,
        evidence=(*tally.why, *step.evidence),
        recovered=tally.broken,
    )


def _counted(tally: Tally, seen: Sighting, step: Advance) -> Tally:
    """Return the tally with ``seen`` as its baseline and nothing open."""
    zeroed = step.kind in ("reset", "device_restart")
    return change(
        tally,
        last=seen.raw,
        ts=seen.ts,
        agent=seen.agent,
        asked=seen.asked,
        total=tally.total + step.delta,
        good=True,
        broken=False,
        stood=None,
        held=None,
        sign=None,
        why=(),
        reset_at=seen.agent if zeroed else tally.reset_at,
    )


def baseline(tally: Tally) -> int:
    """Return the register's last content; asked only where there is one."""
    if tally.last is None:
        raise AssertionError("a step without a baseline")
    return tally.last


def change(tally: Tally, **fields: Any) -> Tally:
    """Return ``tally`` with other ``fields``."""
    return msgspec.structs.replace(tally, **fields)
