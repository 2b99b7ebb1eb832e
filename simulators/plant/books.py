"""What the events say of a plant, in the same words as its truth: the MOM side's own sums and lists, built from events alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from simulators.books import PREFIX, Books
from simulators.inbox import Event
from simulators.plant.facts import Facts, step

Data = dict[str, Any]


@dataclass
class PlantBooks(Books):
    """The books of any unit; ``told`` types are counted, so that none is there that the plant has no reason for."""

    facts: Facts = field(default_factory=Facts)
    types: dict[str, int] = field(default_factory=dict)
    across: list[str] = field(default_factory=list)
    """Ids of events that could not be booked on one context."""

    def apply(self, event: Event) -> None:
        """Book one event; the inbox gives each exactly once and in order."""
        super().apply(event)
        name, data = event["type"].removeprefix(PREFIX).removesuffix(".v1"), event["data"]
        self.types[name] = self.types.get(name, 0) + 1
        if data.get("spans"):
            self.across.append(event["id"])
        book = _BOOK.get(name)
        if book is not None:
            book(self.facts, self.t(event["time"]), data)


def _count(facts: Facts, _: float, data: Data) -> None:
    for member in ("order", "product", "lot", "shift"):
        facts.add(f"{data['counter']} by {member}", (data["ctx"].get(member) or "",), data["delta"])


def _cycle(facts: Facts, _: float, data: Data) -> None:
    facts.add("cycles by order", (data["ctx"].get("order") or "",), data["count"])
    facts.add("parts of cycles by order", (data["ctx"].get("order") or "",), data["parts"])


def _unit(facts: Facts, _: float, data: Data) -> None:
    serial, station, result = str(data["serial"]), str(data["station"]), str(data["result"])
    facts.add("units by serial", (serial, station, result))
    facts.add("units by cavity", (station, result))
    facts.add("units by order", (data["ctx"].get("order") or "",))


def _scrap(facts: Facts, _: float, data: Data) -> None:
    facts.add("rejects by reason", (str((data["reason"] or {}).get("code")),), data["qty"])


def _consumed(facts: Facts, _: float, data: Data) -> None:
    into = data["into"]
    key = (str(data["position"]), data["lot_new"] or "", into["order"] or "", into["lot"] or "")
    facts.add("genealogy", key, data["qty"])


def _lot(facts: Facts, t: float, data: Data) -> None:
    facts.happened("lots", t, f"{data['position']} {step(data['lot_old'], data['lot_new'])}")


def _state(facts: Facts, t: float, data: Data) -> None:
    """A loss of sight is a pair through unknown; what was seen before and after it counts."""
    name = str(data["to"]["name"] or data["to"]["category"])
    known = facts.lists["states"]
    if data["to"]["category"] == "unknown" or (data["from"]["category"] == "unknown" and known and known[-1].text == name):
        return
    facts.happened("states", t, name)


def _order(word: str) -> Any:
    def book(facts: Facts, t: float, data: Data) -> None:
        facts.happened("orders", t, f"{word} {data['order']}")
        if word in {"completed", "aborted"}:
            for counter, made in data["totals_at"].items():
                facts.add("told at the order's end", (data["order"], counter), made)

    return book


def _shift(facts: Facts, t: float, data: Data) -> None:
    offset = timezone(timedelta(minutes=data["utc_offset_min"]))
    local = datetime.fromisoformat(data["starts_at"]).astimezone(offset)
    facts.happened("shifts", t, f"{data['from']} to {data['shift_id']} at {local:%H:%M %z}")


def _stop(facts: Facts, t: float, data: Data) -> None:
    facts.happened("downtimes", t, str(data["category"]))


def _stop_ended(facts: Facts, t: float, data: Data) -> None:
    facts.happened("downtimes", t, f"end of {data['category']}")


def _parameter(kind: str) -> Any:
    def book(facts: Facts, t: float, data: Data) -> None:
        facts.happened(kind, t, f"{data['name']} {step(data['old'], data['new'])}")

    return book


_BOOK: dict[str, Any] = {
    "production.count": _count,
    "cycle.completed": _cycle,
    "unit.produced": _unit,
    "scrap.recorded": _scrap,
    "material.consumed": _consumed,
    "material.lot_changed": _lot,
    "state.changed": _state,
    **{f"order.{word}": _order(word) for word in ("started", "paused", "resumed", "completed", "aborted")},
    "shift.changed": _shift,
    "downtime.started": _stop,
    "downtime.ended": _stop_ended,
    "recipe.changed": _parameter("recipe"),
    "setpoint.changed": _parameter("setpoints"),
}
