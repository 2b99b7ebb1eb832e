"""The retained ``_meta`` of a unit: what its events are made of, so that a consumer need not be told by e-mail (the birth of Sparkplug)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edge_agent.events.catalog import UnitConfig, inputs
from edge_agent.model.reading import Tag


def meta_document(config: UnitConfig, *, tags: Mapping[str, Tag], cfg: str) -> bytes:
    """Return tags with type and unit, counters with their role, and what books what; ``cfg`` is the hash of the mapping."""
    used = {ref: tags[ref] for ref in sorted(inputs(config)) if ref in tags}
    roles = {name: counter.role for name, counter in config.counters.items()}
    document = {
        "unit": config.unit,
        "cfg": cfg,
        "tags": {ref: {"type": tag.type, "uom": tag.uom, "period_ms": tag.period / 1e6} for ref, tag in used.items()},
        "counters": {name: {"role": role} for name, role in roles.items()},
        "books": "production.count",
        "gross_includes": ["good", "scrap"] if "total" in roles.values() else [],
        "state_model": config.state.model if config.state is not None and isinstance(config.state.model, str) else None,
    }
    return msgspec.json.encode(document)
