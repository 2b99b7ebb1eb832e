"""How long to wait before the next try: exponential, jittered, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def delays(random: Random, *, first: float = 0.1, factor: float = 2.0, longest: float = 4.0) -> Iterator[float]:
    """Yield machine seconds for ever: ``first``, then ``factor`` times as long up to ``longest``, each between half and all of it.

    The jitter keeps many gateways from knocking at a broker in step after it came back. The bound leaves a second to connect and
    deliver: data flow again at most 5 s after the cause of a loss has gone, since the time of a try that hung counts (`link.rest`).
    """
    bound = first
    while True:
        yield bound * (0.5 + random.random() / 2)
        bound = min(bound * factor, longest)
