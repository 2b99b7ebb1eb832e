"""What a MOM keeps of one work unit, built from events alone: counts by order, mode and shift, states, downtimes, samples, alarms, energy."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulators.inbox import Event

PREFIX = "edgeagent."
ONCE = {
    "order.started": ("order",),
    "order.completed": ("order",),
    "downtime.started": ("downtime_id",),
    "downtime.ended": ("downtime_id",),
    "alarm.raised": ("instance_id",),
    "alarm.cleared": ("instance_id",),
    "shift.changed": ("shift_id", "at"),
    "counter.discontinuity": ("counter", "kind", "at"),
    "collection.gap": ("reason", "device", "at"),
    "device.connected": ("device", "at"),
    "device.disconnected": ("device", "at"),
}
"""What names a thing that happens once, by type (``at``: its time): a second number for it is a second one in the books."""
AGENT = ("agent.", "device.", "clock.", "config.")
"""How the types of the agent's own stream begin."""


@dataclass
class Stop:
    """One downtime as told by its events."""

    start: float
    order: str | None
    end: float | None = None
    duration: float | None = None
    category: str = ""
    reason: int | None = None
    micro: bool | None = None
    ended_events: int = 0
    began: bool = False


@dataclass(frozen=True)
class Spanned:
    """A count that lies across a change nobody saw: ``spans`` names what it cannot be told (order, mode, shift, ...)."""

    begin: float
    end: float
    disposition: str
    delta: int
    mode: str | None
    spans: tuple[str, ...]


@dataclass
class Books:
    """The books of one unit and its agent. All times are plant seconds since ``epoch``."""

    epoch: datetime
    counts: dict[tuple[str | None, str | None, str | None, str], int] = field(default_factory=lambda: defaultdict(int))
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)
    by_total: set[str] = field(default_factory=set)
    declared: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By counter: what declared losses have counted, and nobody has told in detail."""
    spanned: list[Spanned] = field(default_factory=list)
    energy_spanned: list[tuple[float, float, int]] = field(default_factory=list)
    states: list[tuple[float, Any, Any, dict[str, Any]]] = field(default_factory=list)
    modes: list[tuple[float, Any, Any]] = field(default_factory=list)
    orders: dict[str, list[float | None]] = field(default_factory=dict)
    shifts: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    stops: dict[str, Stop] = field(default_factory=dict)
    alarms: dict[str, list[Any]] = field(default_factory=dict)
    samples: list[tuple[float, str | None, Any, str]] = field(default_factory=list)
    energy: dict[str | None, int] = field(default_factory=lambda: defaultdict(int))
    energy_wh: float = 0.0
    energy_totals: dict[str, float] = field(default_factory=dict)
    energy_by_total: set[str] = field(default_factory=set)
    gaps: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    steps: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    readings: list[tuple[str, float, Any, int]] = field(default_factory=list)
    agent: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    told: list[tuple[float, float, bool]] = field(default_factory=list)
    """Of each event of the unit: its time, when it was recorded, and whether the time is the PLC's own."""
    unknown_types: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    early: int = 0
    named: set[tuple[object, ...]] = field(default_factory=set)
    twice: list[str] = field(default_factory=list)
    disagreeing: list[str] = field(default_factory=list)
    snapshot: dict[str, Any] | None = None
    begin: tuple[float, Any, Any] | None = None
    """The state, since when, and the mode, that the first snapshot found."""
    last_time: float = 0.0

    def t(self, text: str) -> float:
        """Return an RFC 3339 time as plant seconds."""
        return (datetime.fromisoformat(text).astimezone(UTC) - self.epoch).total_seconds()

    def apply(self, event: Event) -> None:
        """Book one event; the inbox gives each exactly once and in order."""
        name = event["type"].removeprefix(PREFIX).removesuffix(".v1")
        time, data = self.t(event["time"]), event["data"]
        recorded = self.t(event["recordedtime"])
        self.early += time > recorded + 1.0
        self.last_time = max(self.last_time, time)
        if not name.startswith(AGENT):
            self.told.append((time, recorded, data.get("ts", {}).get("basis") == "source"))
        if name in ONCE and data.get("retry_of") is None:
            identity = (name, *(time if each == "at" else data.get(each) for each in ONCE[name]))
            self.twice += [event["id"]] if identity in self.named else []
            self.named.add(identity)
        book = getattr(self, "_" + name.replace(".", "_"), None)
        if book is not None:
            book(time, data, event)
        elif name.startswith(AGENT):
            self.agent.append((time, name, data))
        else:
            self.unknown_types[name] += 1

    def _production_count(self, _: float, data: dict[str, Any], event: Event) -> None:
        ctx, counter, delta = data["ctx"], data["counter"], data["delta"]
        if counter in self.by_total and data.get("retry_of") is None:
            self.by_total.discard(counter)
            delta = data["total"] - self.totals[counter][1]
        self.counts[ctx.get("order"), ctx.get("mode"), ctx.get("shift"), data["disposition"]] += delta
        if data.get("spans"):
            begin, end = map(self.t, data["interval"])
            self.spanned.append(Spanned(begin, end, data["disposition"], delta, ctx.get("mode"), tuple(data["spans"])))
        if data.get("retry_of") is not None:  # a gap has moved the total on; what was in it is known now
            self.declared[counter] -= delta
            return
        first, last = self.totals.get(counter, (data["total"] - delta, data["total"] - delta))
        if last + delta != data["total"]:
            self.disagreeing.append(f"{event['id']}: {counter} {last} + {delta} is not {data['total']}")
        self.totals[counter] = (first, data["total"])

    def _counter_discontinuity(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.steps.append((time, data))

    def _state_changed(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.states.append((time, data["from"], data["to"], data))

    def _mode_changed(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.modes.append((time, data["from"], data["to"]))

    def _order_started(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.orders[data["order"]] = [time, None]

    def _order_completed(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.orders.setdefault(data["order"], [None, None])[1] = time

    def _shift_changed(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.shifts.append((time, data))

    def _downtime_started(self, time: float, data: dict[str, Any], _: Event) -> None:
        stop = self.stops.setdefault(data["downtime_id"], Stop(time, data["ctx"].get("order")))
        stop.category, stop.began = data.get("category", ""), True
        self._reason(stop, data)

    def _downtime_reason(self, _: float, data: dict[str, Any], __: Event) -> None:
        if data["downtime_id"] in self.stops:
            self._reason(self.stops[data["downtime_id"]], data)

    def _downtime_ended(self, time: float, data: dict[str, Any], _: Event) -> None:
        stop = self.stops.setdefault(data["downtime_id"], Stop(self.t(data["started_at"]), data["ctx"].get("order")))
        stop.end, stop.duration, stop.category, stop.micro = time, data["duration_s"], data["category"], data["micro"]
        stop.ended_events += 1
        self._reason(stop, data)

    @staticmethod
    def _reason(stop: Stop, data: dict[str, Any]) -> None:
        if data.get("reason"):
            stop.reason = data["reason"]["code"]

    def _alarm_raised(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.alarms[data["instance_id"]] = [str(data["alarm_id"]), time, None]

    def _alarm_cleared(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.alarms.setdefault(data["instance_id"], [str(data["alarm_id"]), None, None])[2] = time

    def _quality_result(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.samples.append((time, (data.get("unit") or {}).get("serial"), data.get("value"), data["verdict"]))

    def _energy_consumed(self, _: float, data: dict[str, Any], __: Event) -> None:
        units, delta, meter = int(data["raw_delta"]), data["delta"], data["meter"]
        if meter in self.energy_by_total:
            if not units:
                return  # its total may be from before what is known; the next one that says any tells
            self.energy_by_total.discard(meter)
            share = (data["total"] - self.energy_totals[meter]) / delta  # the rest of it was told before the store was lost
            units, delta = round(units * share), delta * share
        self.energy[data["ctx"].get("order")] += units
        if "order" in data.get("spans", ()):
            begin, end = map(self.t, data["interval"])
            self.energy_spanned.append((begin, end, units))
        self.energy_wh += delta * 1000
        self.energy_totals[meter] = data["total"]

    def _collection_gap(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.gaps.append((time, data))
        for counter, total in data.get("totals_at_to", {}).items():
            before = data["totals_at_from"][counter]
            first, last = self.totals.get(counter, (before, before))
            if last == before:
                self.declared[counter] += total - before
                self.totals[counter] = (first, total)
        if data["reason"] == "store_rolled_back":  # its counts may repeat some that are booked: the totals tell
            self.by_total |= self.totals.keys()
            self.energy_by_total |= self.energy_totals.keys()

    def _state_snapshot(self, time: float, data: dict[str, Any], _: Event) -> None:
        self.snapshot = {"time": time, **data}
        if self.begin is None and not self.states and data.get("state"):
            self.begin = (self.t(data["since"]), data["state"], data.get("mode"))
        for alarm in data.get("alarms", ()):  # one that stood before anybody looked is told by the snapshot alone
            self.alarms.setdefault(alarm["instance_id"], [str(alarm["alarm_id"]), self.t(alarm["since"]), None])
