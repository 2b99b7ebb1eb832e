"""The documents beside a unit's stream: ``_state``, the checkpoint and ``_meta``.

They are retained, have no number and are built when they are sent: the stream alone is the truth, these say where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from edge_agent.events.catalog import UnitConfig, inputs
from edge_agent.events.encode import json_value
from edge_agent.events.keyframe import describe
from edge_agent.events.rule import CounterFacts, Picture
from edge_agent.model.instant import iso
from edge_agent.model.reading import Tag


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
    more: Mapping[str, object] | None = None,
) -> bytes:
    """Return the retained checkpoint of a unit's stream, the proof of completeness.

    Per counter it carries raw value, modulus and boot evidence, for people and other programs; ``more`` are members by which a blank
    gateway can take the stream over. ``watermark`` (UTC ns, `Fold.watermark`) = nothing with an earlier time will follow unless flagged
    late; ``digest`` is the SHA-256 (16 hex digits) over totals and open things, to compare pictures without reading them.
    """
    proof = _proof(picture)
    document = {
        "stream": unit,
        "time": iso(time),
        "epoch": epoch,
        "first_seq": first_seq,
        "last_seq": last_seq,
        "published_seq": published_seq,
        "watermark": None if watermark is None else iso(watermark),
        **proof,
        "counters": json_value({name: _counter(facts) for name, facts in picture.counters.items()}),
        "digest": sha256(msgspec.json.encode(proof, order="sorted")).hexdigest()[:16],
        **(more or {}),
    }
    return msgspec.json.encode(document)


def _proof(picture: Picture) -> Any:
    """Return the totals and what is open: what two pictures are compared by."""
    described = describe(picture)
    opened = {
        "state": described["state"],
        "since": described["since"],
        "order": described["order"],
        "downtime_id": described["downtime_id"],
        "alarms": [alarm["instance_id"] for alarm in described["alarms"]],
    }
    return json_value({"totals": described["totals"], "open": opened})


def _counter(facts: CounterFacts) -> dict[str, object]:
    return {
        "role": facts.role,
        "raw": None if facts.raw is None else str(facts.raw),
        "total": facts.total,
        "modulus": facts.modulus,
        "boot": facts.boot,
        "scale": facts.scale,
        "uom": facts.uom,
    }


def meta_document(config: UnitConfig, *, tags: Mapping[str, Tag], cfg: str) -> bytes:
    """Return the retained ``_meta`` of a unit, its birth: what is read, what it means, and which event moves quantities.

    ``books`` names the only type that does; ``gross_includes`` the dispositions that a ``total`` counter has in it.
    """
    roles = {counter.role for counter in config.counters.values()}
    document = {
        "unit": config.unit,
        "path": list(config.path),
        "cfg": cfg,
        "books": "production.count",
        "gross_includes": [role for role in ("good", "scrap", "rework") if role != "rework" or role in roles]
        if "total" in roles
        else [],
        "counters": {
            name: {"tag": one.tag, "role": one.role, "uom": one.uom, "wraps": one.wraps} for name, one in config.counters.items()
        },
        "energy": {
            name: {"tag": one.tag, "carrier": one.carrier, "uom": one.uom or _uom(tags, one.tag)}
            for name, one in config.energy.items()
        },
        "state": None if config.state is None else config.state.model_dump(mode="json", include={"tag", "model", "mode"}),
        "context": config.context.model_dump(mode="json") if config.context else {},
        "tags": {ref: _tag(tags[ref]) for ref in sorted(inputs(config)) if ref in tags},
        "telemetry": list(config.telemetry.tags) if config.telemetry else [],
    }
    return msgspec.json.encode(document)


def _uom(tags: Mapping[str, Tag], ref: str) -> str | None:
    return tags[ref].uom if ref in tags else None


def _tag(tag: Tag) -> dict[str, Any]:
    """Return what a consumer is told of a tag; the names of its values only where it has some."""
    names = {"names": {str(value): name for value, name in tag.names}} if tag.names else {}
    return {"type": tag.type, "uom": tag.uom} | names
