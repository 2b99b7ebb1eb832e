"""Records of single parts where what is being made changes: they belong to what ends there, as the counts of these parts do.

A record is read in a request of its own, behind the samples of its scan. So it may come after its scan has changed the context: what was
written in or before that scan, by the same device's clock, is the old context's. Where nobody saw when the context changed, it is nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from edge_agent.events.rule import Ended, Moment, Picture
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Timestamps

PARTS: Final = frozenset({"cycle.completed", "unit.produced", "scrap.recorded", "quality.result", "material.consumed"})
"""What is told of single parts, and explains a count."""

_MEMBERS: Final = ("order", "product", "lot", "mode", "recipe", "operator")
_MOST: Final = 4
"""Contexts that are remembered."""

_READ: Final = 30 * NS
"""So long after a change a read of its scan may come; what has an older stamp then is of a clock that was set back (ns, agent's clock)."""


class Owner(NamedTuple):
    """Whom a record belongs to: ``ctx``, and the candidates of each member of it that is not sure."""

    ctx: Context
    candidates: dict[str, list[str | None]]


def ended(before: Picture, now: Picture, moment: Moment, told: Sequence[ProductionEvent], named: frozenset[str]) -> Picture:
    """Return ``now`` with the context of ``before`` remembered, where this moment's readings of the tags ``named`` have ended it.

    ``told`` is what they were told by. A context that became known is none that ended: nobody knows what was made before.
    """
    old, new = before.context, now.context
    if old == new or not moment.readings:
        return now
    told = [event for event in told if event.type.startswith("order.") or event.type == "mode.changed"]
    if not told and all(getattr(old, member) in (None, getattr(new, member)) for member in _MEMBERS):
        return now
    reading = next((reading for ref, reading in moment.readings.items() if ref in named), None)
    if reading is None:
        return now
    unseen = min((event.interval[0] for event in told if event.interval is not None), default=None)
    return msgspec.structs.replace(
        now, ended=(*now.ended, Ended(old, moment.time, reading.at.agent, reading.tag.partition(".")[0], unseen))[-_MOST:]
    )


def owner(mark: str, at: Timestamps, before: Picture, now: Picture) -> Owner | None:
    """Return whom a part belongs to whose record was written ``at``, as the tag ``mark`` tells; None: the present context.

    ``before`` is the picture as the moment began. Across devices only what stands in one moment is of one scan.
    """
    device = mark.partition(".")[0]
    just_now = now.ended[-1:] if now.ended != before.ended else ()
    for place, one in enumerate(now.ended):
        read_for_it = one.device == device and at.best <= one.until and at.agent - one.heard <= _READ
        if read_for_it or one in just_now:
            after = now.ended[place + 1].ctx if place + 1 < len(now.ended) else now.context
            if one.unseen is None or at.best <= one.unseen:
                return Owner(one.ctx, {})
            return _unsure(one.ctx, after)
    return None


def _unsure(old: Context, new: Context) -> Owner:
    candidates = {name: [getattr(old, name), getattr(new, name)] for name in _MEMBERS if getattr(old, name) != getattr(new, name)}
    return Owner(msgspec.structs.replace(new, **dict.fromkeys(candidates)), candidates)


def stamped(event: ProductionEvent, whose: Owner) -> ProductionEvent:
    """Return the record of a part with its owner; what is not sure is said, as of counts."""
    if not whose.candidates:
        return msgspec.structs.replace(event, ctx=whose.ctx)
    data = event.data | {"spans": list(whose.candidates), "candidates": whose.candidates}
    return msgspec.structs.replace(event, ctx=whose.ctx, data=data)
