"""Which rows an event writes: the whole of what the books know, by type. Pure; a type that is not here stays in the inbox alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_agent.consumer.amounts import Accounts, baseline, count, energy, gap
from edge_agent.consumer.event import Event, micros
from edge_agent.consumer.row import Cell, Cells, Row, text, when, whole

Rows = list[Row]
_PLACE = ("source", "epoch", "seq")
_OVER = frozenset({"order.completed", "order.aborted"})


def book(event: Event, accounts: Accounts) -> Rows:
    """Return the rows of ``event``; ``accounts`` are moved. Raises KeyError, TypeError or ValueError when it lacks what its type must have."""
    entry = _TYPES.get(event.name)
    return entry(event, accounts) if entry is not None else []


def place(event: Event) -> Cells:
    """Return the columns that lead back to the event, and what it is about."""
    return {"source": event.source, "epoch": event.epoch, "seq": event.seq, "subject": event.subject}


def _at(event: Event) -> Cells:
    return {**place(event), "at": when(event.time), "at_us": event.time}


def _moment(name: str, value: str | None) -> Cells:
    at = micros(value) if value else None
    return {name: when(at), f"{name}_us": at}


def _order(event: Event) -> str | None:
    return text(event.ctx.get("order"))


def _reason(data: Any) -> Cells:
    reason = data.get("reason")
    return {"reason_code": text(reason.get("code")), "reason_text": text(reason.get("text"))} if isinstance(reason, dict) else {}


def _state(event: Event, _: Accounts) -> Rows:
    state, data = event.data["to"], event.data
    cells = _state_cells(state) | _reason(data) | {"origin": "change", "continuity": text(data.get("continuity"))}
    cells |= {"order_id": _order(event), "mode": text(event.ctx.get("mode")), "late": int(data.get("late") is True)}
    now = _now(event, state_code=cells["code"], state_name=cells["name"], category=cells["category"], since=when(event.time))
    return [Row("states", _PLACE, _at(event) | cells), now]


def _state_cells(state: Any) -> Cells:
    return {"code": text(state.get("code")), "name": text(state["name"]), "category": text(state["category"])}


def _mode(event: Event, _: Accounts) -> Rows:
    mode = event.data["to"]
    cells: Cells = {"code": text(mode.get("code")), "name": text(mode.get("name"))}
    return [Row("modes", _PLACE, _at(event) | cells), _now(event, mode=cells["name"])]


def _snapshot(event: Event, _: Accounts) -> Rows:
    data, state = event.data, event.data.get("state")
    context = {f"{name}_id" if name == "order" else name: text(data.get(name)) for name in ("order", "product", "lot", "shift")}
    rows = [_opened(event, alarm) for alarm in data.get("alarms", ())]
    if not isinstance(state, dict):
        return [*rows, _now(event, context=False, **context)]
    since = micros(data["since"])
    cells = _state_cells(state) | {"origin": "snapshot", "order_id": context["order_id"], "late": 0}
    mode = text((data.get("mode") or {}).get("name"))
    cells |= {"at": when(since), "at_us": since, "mode": mode}
    now = _now(
        event, context=False, state_code=cells["code"], state_name=cells["name"], category=cells["category"],
        since=when(since), mode=mode, **context,
    )  # fmt: skip
    return [*rows, Row("states", _PLACE, _at(event) | cells), now]


def _opened(event: Event, alarm: Any) -> Row:
    cells: Cells = {"source": event.source, "instance_id": text(alarm["instance_id"]), "subject": event.subject}
    cells |= _alarm_cells(alarm) | _moment("raised", alarm.get("since"))
    return Row("alarms", ("source", "instance_id"), cells, "once")


def _now(event: Event, *, context: bool = True, **cells: Cell) -> Row:
    """Return what is now known of the unit; an event that tells of an earlier time changes nothing."""
    ctx = event.ctx
    known: Cells = {"source": event.source, "subject": event.subject, "as_of": when(event.time), "as_of_us": event.time}
    if context:
        order = None if event.name in _OVER else _order(event)
        known |= {
            "order_id": order,
            "product": text(ctx.get("product")),
            "lot": text(ctx.get("lot")),
            "shift": text(ctx.get("shift")),
        }
    return Row("unit_now", ("source",), known | cells, newer="as_of_us")


def _downtime(event: Event, _: Accounts) -> Rows:
    data, step = event.data, event.name.removeprefix("downtime.")
    cells: Cells = {"source": event.source, "downtime_id": text(data["downtime_id"]), "subject": event.subject}
    cells |= _reason(data)
    if step != "reason":
        cells |= _moment("began", data.get("started_at") or (when(event.time) if step == "started" else None))
        cells |= {"category": text(data.get("category")), "first_out_alarm": text(data.get("first_out_alarm"))}
    if step == "started":
        cells |= {"order_id": _order(event), "shift": text(event.ctx.get("shift"))}
    if step == "ended":
        cells |= _moment("ended", when(event.time))
        cells |= {"duration_s": data["duration_s"], "micro": int(data.get("micro") is True)}
    return [Row("downtimes", ("source", "downtime_id"), cells)]


def _order_step(event: Event, _: Accounts) -> Rows:
    data, step = event.data, event.name.removeprefix("order.")
    name = text(data["order"])
    cells: Cells = {"source": event.source, "order_id": name, "subject": event.subject, "state": text(data.get("state"))}
    cells |= {member: text(data[member]) for member in ("operation", "product", "lot") if data.get(member) is not None}
    if isinstance(data.get("planned_qty"), int | float):
        cells["planned_qty"] = data["planned_qty"]
    if step == "started":
        cells |= _moment("started", when(event.time)) | {"totals_at_start": text(data.get("totals_at"))}
    if event.name in _OVER:
        cells |= _moment("ended", when(event.time)) | {"totals_at_end": text(data.get("totals_at"))}
    made = {key: value for key, value in _at(event).items() if key != "subject"}
    steps = Row("order_steps", _PLACE, made | {"order_id": name, "step": step})
    return [Row("orders", ("source", "order_id"), cells), steps, _now(event)]


def _alarm_cells(data: Any) -> Cells:
    return {
        "alarm_id": text(data.get("alarm_id")),
        "severity": whole(data.get("severity")),
        "class": text(data.get("class")),
        "message": text(data.get("text")),
        "first_out": int(data.get("first_out") is True),
    }


def _alarm(event: Event, _: Accounts) -> Rows:
    data, step = event.data, event.name.removeprefix("alarm.")
    cells: Cells = {"source": event.source, "instance_id": text(data["instance_id"]), "subject": event.subject}
    if step == "raised":
        cells |= _alarm_cells(data) | _moment("raised", when(event.time)) | {"order_id": _order(event)}
    elif step == "cleared":
        cells |= _moment("cleared", when(event.time))
    elif step == "acknowledged":
        cells |= {"acknowledged": when(event.time)}
    return [Row("alarms", ("source", "instance_id"), cells)]


def _quality(event: Event, _: Accounts) -> Rows:
    data, unit = event.data, event.data.get("unit") or {}
    names = ("test_id", "characteristic", "value", "uom", "lsl", "usl", "verdict", "sample_no", "source_key")
    cells: Cells = {name: text(data.get(name)) for name in names}
    cells |= {"serial": text(unit.get("serial")), "lot": text(unit.get("lot")), "order_id": _order(event)}
    return [Row("quality", _PLACE, _at(event) | cells, "once")]


def _unit(event: Event, _: Accounts) -> Rows:
    cells: Cells = {name: text(event.data.get(name)) for name in ("serial", "lot", "result", "station", "cycle_id", "source_key")}
    return [Row("units_produced", _PLACE, _at(event) | cells | {"order_id": _order(event)}, "once")]


def _scrap(event: Event, _: Accounts) -> Rows:
    cells: Cells = {name: text(event.data.get(name)) for name in ("uom", "station", "serial")}
    cells |= _reason(event.data) | {"qty": event.data["qty"], "order_id": _order(event)}
    return [Row("scrap", _PLACE, _at(event) | cells)]


def _shift(event: Event, _: Accounts) -> Rows:
    data = event.data
    cells = {"shift_id": text(data.get("shift_id")), "before_id": text(data.get("from")), "totals": text(data.get("totals"))}
    cells |= {"local_date": text(data.get("local_date")), "tz": text(data.get("tz"))}
    more = {"utc_offset_min": whole(data.get("utc_offset_min"))} | _moment("begins", data.get("starts_at"))
    return [Row("shifts", _PLACE, place(event) | cells | more | _moment("ends", data.get("ends_at")))]


def _device(event: Event, _: Accounts) -> Rows:
    data = event.data
    cells: Cells = {"prefix": event.source.partition("/_agent/")[0], "device": text(data["device"])}
    cells |= {"up": int(event.name == "device.connected"), "error": text(data.get("error"))}
    if data.get("last_good_at"):
        cells["last_good"] = text(data["last_good_at"])
    return [Row("devices", ("prefix", "device"), cells)]


def _fault(event: Event, _: Accounts) -> Rows:
    data = event.data
    code = text(data.get("code") or data.get("rule")) or event.name
    cells: Cells = {"source": event.source, "code": code, "device": text(data.get("device")) or ""}
    if data.get("action") == "cleared":
        cells["cleared"] = when(event.time)
    else:
        cells |= {
            "raised": when(event.time),
            "cleared": None,
            "message": text(data.get("text")),
            "remedy": text(data.get("remedy")),
        }
        cells["severity"] = whole(data.get("severity"))
    return [Row("faults", ("source", "code", "device"), cells)]


_TYPES: dict[str, Callable[[Event, Accounts], Rows]] = {
    "production.count": count,
    "energy.consumed": energy,
    "collection.gap": gap,
    "counter.discontinuity": baseline,
    "state.changed": _state,
    "state.snapshot": _snapshot,
    "mode.changed": _mode,
    "shift.changed": _shift,
    "quality.result": _quality,
    "unit.produced": _unit,
    "scrap.recorded": _scrap,
    **dict.fromkeys(("downtime.started", "downtime.ended", "downtime.reason"), _downtime),
    **dict.fromkeys(("order.started", "order.paused", "order.resumed", "order.completed", "order.aborted"), _order_step),
    **dict.fromkeys(("alarm.raised", "alarm.cleared", "alarm.acknowledged", "alarm.shelved"), _alarm),
    **dict.fromkeys(("device.connected", "device.disconnected"), _device),
    **dict.fromkeys(("device.fault", "agent.fault", "signal.suspect"), _fault),
}
