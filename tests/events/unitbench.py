"""A unit from its configuration as people write it, on the bench of rules; what it says is checked against the members of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from rulebench import Bench

from edge_agent.events.catalog import UnitConfig, inputs, rules_of
from edge_agent.events.encode import encode
from edge_agent.events.members import MEMBERS
from edge_agent.events.rule import Moment
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Tag

COUNTER = {"tag": "plc.count", "role": "total", "wraps": "uint32", "max_rate": "100/s"}
"""A counter for units that need one."""


class UnitBench(Bench):
    """A bench that checks every event, and puts its states through their stored form at every step."""

    def __init__(self, written: Mapping[str, Any], **tags: Tag) -> None:
        config = UnitConfig.model_validate({"version": 1, "unit": "press", **written})
        known = {ref: tags.get(ref.replace(".", "_"), Tag(*ref.split(".", 1), acknowledge=True)) for ref in inputs(config)}
        super().__init__(rules_of(config, tags=known), unit="press")
        self.restarts = True

    def step(self, moment: Moment) -> list[ProductionEvent]:
        """Fold one moment; what it caused fits its type, also as it is encoded."""
        events = super().step(moment)
        for event in events:
            fits(event)
        return [event for event in events if event.type in MEMBERS]


def fits(event: ProductionEvent) -> None:
    """Check the members of an event against those of its type, as a reader of its JSON finds them."""
    if event.type not in MEMBERS:
        return
    body = msgspec.json.decode(encode(event, stream="press", recorded=1, cfg="c").body)
    common = ("ctx", "ts", "q", "derivation", "late", "cfg")
    msgspec.convert({name: value for name, value in body.items() if name not in common}, MEMBERS[event.type])


def brief(events: list[ProductionEvent], *members: str) -> list[tuple[Any, ...]]:
    """Return type and some members of each event."""
    return [(event.type, *(event.data[member] for member in members)) for event in events]
