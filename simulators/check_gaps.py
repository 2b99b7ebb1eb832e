"""Whether a declared gap is as long as what was broken: who declares an hour lost for a fault of a second must not pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from simulators.check_records import Arrival, Held

_TIMES = 10.0
"""A gap may last so many times as long as its causes ..."""
_GRACE = 10.0
"""... and so many seconds more: the heartbeat of the store, a wait between two tries, a program that starts."""
_BESIDE = 1.0
"""Seconds by which a cause may lie beside the gap it explains."""

_ALSO = {"comm_loss": "agent_down"}
"""A device that an agent does not see when it comes back is out of sight since the agent went, so that is a cause of its gap too."""


class Cause(NamedTuple):
    """A fault that was injected, from ``begin`` to ``end`` in seconds of UTC; ``reason`` = of the gaps that it explains."""

    reason: str
    begin: float
    end: float


def too_long(records: Iterable[Arrival | Held], causes: Sequence[Cause]) -> list[str]:
    """Return the gaps that last far longer than all causes that meet them, in words.

    Only reasons that have a cause are judged, and only gaps that say from when to when.
    """
    found = {}
    timed = {cause.reason for cause in causes}
    for each in records:
        reason, bounds = each.data.get("reason"), each.data.get("interval")
        if not each.type.endswith("collection.gap.v1") or reason not in timed or not bounds or None in bounds:
            continue
        begin, end = (datetime.fromisoformat(bound).timestamp() for bound in bounds)
        met = [cause for cause in causes if cause.reason in {reason, _ALSO.get(reason)} and _meets(cause, begin, end)]
        lasted = max(cause.end for cause in met) - min(cause.begin for cause in met) if met else 0.0
        if end - begin > _TIMES * lasted + _GRACE:
            found[each.stream, each.seq] = f"{each.stream} {each.seq}: {reason} of {end - begin:.0f} s for {lasted:.1f} s"
    return [found[key] for key in sorted(found)]


def _meets(cause: Cause, begin: float, end: float) -> bool:
    return cause.begin <= end + _BESIDE and cause.end >= begin - _BESIDE
