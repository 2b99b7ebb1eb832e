"""Rule states as the buffer keeps them: MessagePack with the version and the fingerprint that give them their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from edge_agent.events.rule import Picture, Rule

S = TypeVar("S", bound=msgspec.Struct)


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    version: int
    fingerprint: str
    state: bytes


_ENVELOPES = msgspec.msgpack.Decoder(_Envelope)
_ENCODER = msgspec.msgpack.Encoder()


def pack(state: msgspec.Struct, *, version: int, fingerprint: str) -> bytes:
    """Return the bytes of ``state``, together with what tells later whether they still mean the same."""
    return _ENCODER.encode(_Envelope(version, fingerprint, _ENCODER.encode(state)))


def unpack(stored: bytes, kind: type[S], *, version: int, fingerprint: str) -> S | None:
    """Return the state in ``stored``; None when its version or fingerprint is another one, or when it cannot be read."""
    try:
        envelope = _ENVELOPES.decode(stored)
        if envelope.version != version or envelope.fingerprint != fingerprint:
            return None
        return msgspec.msgpack.decode(envelope.state, type=kind)
    except (ValueError, RecursionError):  # text that is no UTF-8, or nesting: states come by way of the broker, too
        return None


def pack_rule(rule: Rule[Any], state: msgspec.Struct) -> bytes:
    """Return the bytes of a rule's state."""
    return pack(state, version=rule.version, fingerprint=rule.fingerprint)


def unpack_rule(rule: Rule[Any], stored: bytes) -> msgspec.Struct | None:
    """Return a rule's state, or None when it has to start anew."""
    found: msgspec.Struct | None = unpack(stored, rule.state_type, version=rule.version, fingerprint=rule.fingerprint)
    return found


def without(picture: Picture, dropped: Sequence[str]) -> Picture:
    """Return ``picture`` without what rules had put there that start anew or are gone."""
    changes: dict[str, Any] = {}
    for name in dropped:
        kind, _, part = name.partition(".")
        if kind == "state":
            changes["state"] = None
        elif kind == "mode":
            changes |= {"mode_code": None, "production": True}
        elif kind == "downtime":
            changes["downtime"] = None
        elif kind == "alarms":
            changes["alarms"] = {}
        elif kind in {"counters", "energy"}:
            counters = changes.get("counters", picture.counters)
            changes["counters"] = {known: facts for known, facts in counters.items() if known != part}
        elif kind == "recipe":
            changes["context"] = msgspec.structs.replace(changes.get("context", picture.context), recipe=None)
        elif kind == "context":
            changes["context"] = msgspec.structs.replace(
                changes.get("context", picture.context), order=None, product=None, lot=None
            )
    return msgspec.structs.replace(picture, **changes) if changes else picture
