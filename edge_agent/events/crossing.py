"""Changes of context between two samples of a counter: what was counted then belongs to none of the contexts for sure.

Modbus devices report what is new, and servers notify of it: that nothing came between the samples proves nothing, only their period does. A
sample that stands in the same moment as the change, or that was asked for since the change was heard of, closes the old context.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from edge_agent.events.belonging import Place
from edge_agent.events.mescontext import DEVICE
from edge_agent.events.rule import Moment
from edge_agent.model.instant import MS
from edge_agent.model.reading import Reading

_MOST: Final = 8
"""Changes without a sample in between of which each is remembered; of more, the first and the newest."""

_ASKED: Final = 50 * MS
"""How wrong a device's time can be when its clock was measured (ns)."""

_UNKNOWN: Final = 500 * MS
"""How wrong it can be when nobody measured (ns)."""


class Change(msgspec.Struct, frozen=True):
    """A change of context that no sample of the counter came with: its time on the agent's clock (UTC ns), who told it, and the context ``before`` it.

    ``wrong``: how wrong that time can be (ns); 0 where it is the agent's own.
    """

    at: int
    device: str
    before: Place
    wrong: int = 0


class Crossed(msgspec.Struct, frozen=True):
    """What a sample's difference lies across: the contexts that it may belong to, in their order (none: it is sure).

    ``end`` is the context that holds when the difference ends; ``later`` are the changes behind the sample.
    """

    places: tuple[Place, ...]
    later: tuple[Change, ...]
    end: Place


def told(moment: Moment, tags: Mapping[str, str], now: Place, here: Place, *, counter: str, seen: int) -> Change | None:
    """Return the change of context from ``now`` to ``here`` that this moment tells; None without one, or where the counter was read since.

    ``tags`` maps a context key to its ``device.tag``; ``counter`` is the counter's device, ``seen`` from when its last sample is (agent's UTC ns).
    """
    if here == now:
        return None
    keys = [key for key in tags if getattr(now.ctx, key, None) != getattr(here.ctx, key, None)]
    readings = [moment.readings[tags[key]] for key in keys if tags[key] in moment.readings]
    if not readings:
        return None
    first = min(readings, key=lambda reading: reading.at.best)
    device = first.tag.partition(".")[0]
    at, wrong = _instant(first, moment)
    if device == DEVICE and first.at.asked is not None:
        at = first.at.asked  # what an MES says holds from when it was heard; the counters are read behind that
    change = Change(at, device, now, wrong)
    return None if seen >= at + _apart(change, counter, 0) else change


def kept(changes: tuple[Change, ...], new: Change) -> tuple[Change, ...]:
    """Return ``changes`` with a ``new`` one, bounded."""
    grown = (*changes, new)
    return grown if len(grown) <= _MOST else (grown[0], *grown[2:])


def crossed(changes: tuple[Change, ...], reading: Reading, moment: Moment, period: int, now: Place) -> Crossed:
    """Return what the difference that ``reading`` tells lies across; ``period`` is the counter's sampling or poll period (ns, 0: unknown).

    A subscribed tag moved in its last sampling period. One that is polled did between the last two polls, of which the older one may have been late by
    up to a period before that is a gap: two periods, where its period is known.
    """
    if not changes:
        return Crossed((), (), now)
    (ts, wrong), device = _instant(reading, moment), reading.tag.partition(".")[0]
    polled = reading.at.asked is not None or reading.at.source is None
    inside: list[Place] = []
    for number, change in enumerate(changes):
        apart = _apart(change, device, wrong)
        if change.at - apart >= ts:
            return Crossed((*inside, change.before) if inside else (), changes[number:], change.before)
        if (polled and not period) or change.at + apart > ts - (2 * period if polled else period):
            inside.append(change.before)
    return Crossed((*inside, now) if inside else (), (), now)


def from_when(reading: Reading, moment: Moment) -> int:
    """Return from when a sample is at the earliest, on the agent's clock (UTC ns)."""
    return reading.at.asked if reading.at.asked is not None else _instant(reading, moment)[0]


def _apart(change: Change, device: str, wrong: int) -> int:
    """Return how far the times of a change and of a sample of ``device`` may be apart (ns): not at all where one clock gave both."""
    return 0 if change.device == device else max(change.wrong, wrong)


def _instant(reading: Reading, moment: Moment) -> tuple[int, int]:
    """Return a reading's time on the agent's clock, and how wrong it can be (ns)."""
    if reading.at.basis == "agent":
        return reading.at.agent, 0
    offset = moment.offsets.get(reading.tag.partition(".")[0])
    return (reading.at.best, _UNKNOWN) if offset is None else (reading.at.best - offset, _ASKED)
