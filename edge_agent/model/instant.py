"""Instants as integers: UTC nanoseconds since 1970, written as RFC 3339 with microseconds.

Integers compare, subtract and store without loss; text is made once per event, when it leaves.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

NS = 1_000_000_000
MS = 1_000_000


def iso(ns: int) -> str:
    """Return ``ns`` as ``2026-10-25T04:51:00.250000Z`` (RFC 3339, always UTC, microseconds, truncated).

    Raises OverflowError or ValueError outside the years 1 to 9999.
    """
    seconds, rest = divmod(ns, NS)
    return f"{_to_the_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    """Return the part before the fraction; an event has eight times, most of them of one second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse(text: str) -> int:
    """Return the UTC nanoseconds of an RFC 3339 ``text``; raises ValueError when it has no offset or is no time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it with a Z or an offset")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS + delta.microseconds * 1000
