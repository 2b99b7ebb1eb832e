"""An event as it arrives: a CloudEvent in structured JSON, read once and checked as far as the books need it (CloudEvents 1.0.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.model.instant import parse
from edge_agent.model.outside import from_json

_TYPE = re.compile(r"^(?P<prefix>.+?)\.(?P<name>[a-z_]+\.[a-z_]+)\.v(?P<major>\d+)$")
_MOST = (1 << 63) - 1


class Envelope(msgspec.Struct):
    """The attributes that every event must have; unknown ones are ignored."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    sequence: str
    data: dict[str, Any]
    subject: str = ""
    recordedtime: str | None = None
    correlationid: str | None = None
    causationid: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One event. ``time`` and ``recorded`` are UTC microseconds, ``name`` the type without prefix and version, ``body`` the bytes that arrived.

    ``covers`` is the first number of the hole that a loss record (``collection.gap`` with ``seq_from``) stands for; ``retry_of`` the id under
    which the same fact was sent before.
    """

    source: str
    epoch: str
    seq: int
    id: str
    type: str
    name: str
    subject: str
    time: int
    recorded: int
    data: Mapping[str, Any]
    body: bytes
    covers: int | None = None
    retry_of: str | None = None

    @property
    def ctx(self) -> Mapping[str, Any]:
        """Order, product, lot, mode and shift at the instant of the event."""
        ctx = self.data.get("ctx")
        return ctx if isinstance(ctx, dict) else {}


def read(payload: bytes) -> Event:
    """Return the event that ``payload`` holds. Raises ValueError in words when it is none that can be counted."""
    envelope = from_json(payload, Envelope)
    epoch, seq = envelope.data.get("epoch"), envelope.data.get("seq")
    if not isinstance(epoch, str) or not epoch or not isinstance(seq, int) or isinstance(seq, bool) or not 0 < seq <= _MOST:
        raise ValueError(f"{envelope.id}: data has no epoch and seq that number it")
    if envelope.sequence != f"{seq:020d}":
        raise ValueError(f"{envelope.id}: sequence {envelope.sequence!r} does not say {seq}")
    match = _TYPE.match(envelope.type)
    time = micros(envelope.time)
    first = envelope.data.get("seq_from")
    name = match["name"] if match else envelope.type
    covers = first if name == "collection.gap" and isinstance(first, int) and first <= seq == envelope.data.get("seq_to") else None
    retry = envelope.data.get("retry_of")
    return Event(
        source=envelope.source,
        epoch=epoch,
        seq=seq,
        id=envelope.id,
        type=envelope.type,
        name=name,
        subject=envelope.subject,
        time=time,
        recorded=micros(envelope.recordedtime) if envelope.recordedtime else time,
        data=envelope.data,
        body=payload,
        covers=covers,
        retry_of=retry if isinstance(retry, str) else None,
    )


def micros(text: str) -> int:
    """Return an RFC 3339 time as UTC microseconds since 1970; raises ValueError."""
    return parse(text) // 1000
