"""Production events as rules make them, before a stream numbers them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_agent.model.reading import Quality, Timestamps, Value

Derivation = Literal["observed", "recovered", "substituted", "historical"]
"""``recovered`` = booked from a difference across a gap; ``historical`` = sampled while nobody listened, told later at its own time."""


class Context(msgspec.Struct, frozen=True):
    """What was being made, known at the instant of the event; stamped into every event of a unit."""

    order: str | None = None
    product: str | None = None
    lot: str | None = None
    mode: str | None = None
    shift: str | None = None
    recipe: str | None = None
    operator: str | None = None


NO_CONTEXT = Context()


class ProductionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about a unit, without its place in the stream.

    ``type`` without prefix and version (``production.count``); ``time`` in UTC ns by the best clock; ``data`` holds the type's own
    members of the catalogue (times inside it as RFC 3339 text), the common ones stand in the fields here. ``at`` are the
    times of the reading it came from, ``offset_ms`` is the clock of its device minus the agent's where that was measured. ``interval`` bounds when it can have happened; ``correlation`` is the order,
    ``causation`` the name of the downtime, alarm or cycle it belongs to.
    """

    type: str
    time: int
    data: dict[str, Any]
    ctx: Context = NO_CONTEXT
    at: Timestamps | None = None
    interval: tuple[int, int] | None = None
    quality: Quality = Quality.GOOD
    derivation: Derivation = "observed"
    late: bool = False
    uncertainty_ms: float | None = None
    offset_ms: float | None = None
    correlation: str | None = None
    causation: str | None = None


class Acknowledge(msgspec.Struct, frozen=True):
    """An effect: after the commit, tell the PLC that a handshake record is safe, by the allow-listed tag ``device.tag``."""

    tag: str
    value: Value
