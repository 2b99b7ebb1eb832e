"""How often an OPC UA connection does things, in machine time, and what it asks of the server for plant intervals (pure)."""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

import msgspec

_FASTEST_PUBLISHING: Final = 5.0
_FASTEST_SAMPLING: Final = 1.0
_LEAST_QUEUE: Final = 10
_MOST_QUEUE: Final = 10_000
_STALL: Final = 3000.0
"""Machine milliseconds for which a gateway may be too busy to ask, without a sample lost."""


class Pace(msgspec.Struct, frozen=True):
    """Machine times in seconds and bounds.

    A subscription with nothing to say sends a keep-alive every ``keep_alive``; one that is silent for that and ``patience`` longer
    is dead; one that was taken over says its first word within ``proof``. A failed item is tried again after ``retry_first``, doubling up to ``retry_most``. ``requests`` PublishRequests
    wait at the server. What is polled because the server refused to sample it is asked for again every ``resubscribe``. ``rows`` is how many rows may wait for ``read``. After ``teardown`` an unfinished goodbye is broken off.
    """

    keep_alive: float = 5.0
    patience: float = 5.0
    proof: float = 2.0
    lifetime: float = 60.0
    retry_first: float = 1.0
    retry_most: float = 10.0
    requests: int = 4
    resubscribe: float = 300.0
    rows: int = 200_000
    teardown: float = 3.0


PACE: Final = Pace()


class Asked(NamedTuple):
    """What to ask for one sampling interval: milliseconds, and how many samples the server shall keep."""

    sampling_ms: float
    queue: int


def publishing_ms(publishing: int, speed: float) -> float:
    """Return the publishing interval in machine milliseconds of a plant interval in ns; never below 5 ms."""
    return max(publishing / 1e6 / speed, _FASTEST_PUBLISHING)


def sampling(interval: int, publishing: float, speed: float, keep: float = 0.0) -> Asked:
    """Return what to ask for an interval in plant ns when published every ``publishing`` ms.

    The queue holds ten publishing intervals and three seconds, so that a late PublishRequest overflows nothing, and ``keep`` machine
    milliseconds, so that a short absence of the agent does not either; at least 10 samples, because with a queue of one the Overflow bit is never set (OPC 10000-4, 5.13.1.5).
    """
    every = max(interval / 1e6 / speed, _FASTEST_SAMPLING)
    return Asked(every, min(max(_LEAST_QUEUE, ceil(max(10 * publishing, _STALL, keep) / every)), _MOST_QUEUE))


def counts(publishing: float, pace: Pace, keep: float = 0.0) -> tuple[int, int]:
    """Return keep-alive and lifetime counts for a publishing interval in ms; the lifetime is at least three keep-alives and ``keep`` ms."""
    keep_alive = max(1, round(pace.keep_alive * 1000 / publishing))
    return keep_alive, max(3 * keep_alive, ceil(max(pace.lifetime * 1000, keep) / publishing))
