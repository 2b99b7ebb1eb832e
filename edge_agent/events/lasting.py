"""How long something lasted, between two samples of one device, whose clock may have been set in between.

The device's own stamps are the best measure while its clock runs. Where they disagree with the agent's clock by more than a delivery can be late,
or run backwards, that clock was set, and the agent's tells how long it was.
"""

from __future__ import annotations

from typing import Final

from edge_agent.model.instant import NS

SET: Final = 30 * NS
"""A stall of the network is shorter than this, or ends the connection; a clock that is set (by hand, to summer time) mostly moves further (ns)."""

_ABSURD: Final = 86_400 * NS
"""Nobody sets a PLC by more; a gateway without time that gets it moves by years (ns)."""


def lasted(since: int, heard: int | None, time: int, now: int | None, *, moved: bool = False) -> int:
    """Return the ns from ``since`` to ``time``, both by the device's clock; ``heard`` and ``now`` are when the agent had them, by its own.

    None: nobody watched then, as of what a device kept. ``moved``: ``time`` is not the device's, for that lay before ``since``: it says nothing where it is no more than that. Never negative.
    """
    own = time - since
    if heard is None or now is None:
        return max(own, 0)
    passed = max(now - heard, 0)
    apart = abs(own - passed)
    return passed if own < 0 or (moved and not own) or SET < apart < _ABSURD else own
