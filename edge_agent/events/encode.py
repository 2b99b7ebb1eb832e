"""An event as the buffer keeps it: the JSON object of ``data``, with the members that every type has.

Epoch and number are not in it: the buffer gives them, the publisher adds them. Numbers survive every reader: an integer beyond 2^53-1 is
written as text, as OPC UA's JSON does (OPC 10000-6, 5.4.2), and so are NaN and infinities, which make the event uncertain.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Literal

import msgspec

from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import MS, iso
from edge_agent.model.reading import Quality
from edge_agent.model.stream import Entry

ClockState = Literal["synced", "unsynced", "holdover"]

SAFE = 2**53 - 1
"""The largest integer that every JSON reader keeps (RFC 8259, 6)."""
_PLAIN = (str, bool, type(None))
_ENCODER = msgspec.json.Encoder()


def full_type(name: str, prefix: str) -> str:
    """Return the CloudEvents type of ``production.count``: ``edgeagent.production.count.v1``."""
    return f"{prefix}.{name}.v1"


def json_value(value: Any, flaws: list[float] | None = None) -> Any:
    """Return ``value`` as every JSON reader keeps it: large integers and non-finite numbers as text, containers likewise inside.

    What was not finite is added to ``flaws``.
    """
    kind = value.__class__
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -SAFE <= value <= SAFE else str(value)
    if kind is float:
        return value if isfinite(value) else _not_finite(value, flaws)
    if kind is dict:
        return {name: json_value(member, flaws) for name, member in value.items()}
    if kind is list or kind is tuple:
        return [json_value(member, flaws) for member in value]
    return value


def encode(
    event: ProductionEvent, *, stream: str, recorded: int, cfg: str, prefix: str = "edgeagent", clock: ClockState = "synced"
) -> Entry:
    """Return ``event`` as an entry of ``stream``; ``recorded`` is the agent's time of recording (UTC ns), ``cfg`` the hash of the tag mapping.

    ``clock`` says whether the agent's clock could be believed when it was recorded.
    """
    flaws: list[float] = []
    data = json_value(event.data, flaws)
    good = event.quality is Quality.GOOD and not flaws
    body = _ENCODER.encode(
        {
            **data,
            "ctx": event.ctx,
            "ts": _times(event, recorded, clock),
            "q": "good" if good else "uncertain",
            "derivation": event.derivation,
            "late": event.late,
            "cfg": cfg,
        }
    )
    return Entry(stream, "E", full_type(event.type, prefix), event.time, recorded, body, event.correlation, event.causation)


def _times(event: ProductionEvent, recorded: int, clock: ClockState) -> dict[str, Any]:
    at = event.at
    source, server = (at.source, at.server) if at else (None, None)
    return {
        "basis": at.basis if at else "agent",
        "source": None if source is None else iso(source),
        "server": None if server is None else iso(server),
        "agent": iso(at.agent if at else recorded),
        "uncertainty_ms": _uncertainty(event),
        "clock": clock,
        "interval": [iso(event.interval[0]), iso(event.interval[1])] if event.interval else None,
        **({} if event.offset_ms is None else {"offset_ms": event.offset_ms}),
    }


def _uncertainty(event: ProductionEvent) -> float | None:
    """Return by how much the time of ``event`` may be wrong, in ms, None where nobody knows.

    A device's own stamp is as wrong as its clock, as far as that was measured; what was stamped on arrival was sampled since it was asked for.
    """
    at = event.at
    if event.uncertainty_ms is not None or at is None:
        return event.uncertainty_ms
    if at.basis != "agent":
        return None if event.offset_ms is None else abs(event.offset_ms)
    return None if at.asked is None else round((at.agent - at.asked) / MS, 3)


def _not_finite(value: float, flaws: list[float] | None) -> str:
    if flaws is not None:
        flaws.append(value)
    if value != value:  # noqa: PLR0124 - what NaN is
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
