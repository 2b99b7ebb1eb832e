"""The documents beside a unit's stream: ``_state``, the checkpoint and ``_meta``.

They are retained, have no number and are built when they are sent: the stream alone is the truth, these say where it stands.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from edge_agent.events.encode import json_value
from edge_agent.events.keyframe import describe
from edge_agent.events.rule import Picture
from edge_agent.model.instant import iso


def state_document(picture: Picture, *, unit: str, time: int, epoch: str, seq: int) -> bytes:
    """Return the retained ``_state`` of a unit: the picture at ``time`` (UTC ns), true after event ``seq`` of ``epoch``."""
    document = {"unit": unit, "time": iso(time), "epoch": epoch, "seq": seq, **describe(picture), "ctx": picture.context}
    return msgspec.json.encode(json_value(document))


def checkpoint_document(
    picture: Picture,
    *,
    unit: str,
    time: int,
    epoch: str,
    first_seq: int,
    last_seq: int,
    published_seq: int,
    watermark: int | None = None,
) -> bytes:
    """Return the retained checkpoint of a unit's stream, the proof of completeness (events.md 1.3).

    Per counter it carries raw value, modulus and boot evidence, so that a blank gateway can take the stream over. ``watermark`` (UTC
    ns, `Fold.watermark`) = nothing with an earlier time will follow unless flagged late; ``digest`` is the SHA-256 (16 hex digits)
    over totals and open things, to compare pictures without reading them.
    """
    described = describe(picture)
    counters = {
        name: {
            "role": facts.role,
            "raw": None if facts.raw is None else str(facts.raw),
            "total": facts.total,
            "modulus": facts.modulus,
            "boot": facts.boot,
            "scale": facts.scale,
            "uom": facts.uom,
        }
        for name, facts in picture.counters.items()
    }
    opened = {
        "state": described["state"],
        "since": described["since"],
        "order": described["order"],
        "downtime_id": described["downtime_id"],
        "alarms": [alarm["instance_id"] for alarm in described["alarms"]],
    }
    proof = json_value({"totals": described["totals"], "open": opened})
    document = {
        "stream": unit,
        "time": iso(time),
        "epoch": epoch,
        "first_seq": first_seq,
        "last_seq": last_seq,
        "published_seq": published_seq,
        "watermark": None if watermark is None else iso(watermark),
        **proof,
        "counters": json_value(counters),
        "digest": sha256(msgspec.json.encode(proof, order="sorted")).hexdigest()[:16],
    }
    return msgspec.json.encode(document)
