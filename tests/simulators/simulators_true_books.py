"""Books of a consumer that missed nothing: the line with its faults, every gap declared as wide as it truly was. Tests spoil them one by one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from simulators.books import Books, Stop
from simulators.compare import mode_name
from simulators.inbox import Inbox
from simulators.reconcile import Reconciliation
from simulators.scenario import load_scenario
from simulators.truth import truth
from simulators.unseen import parts

LINE = Path(__file__).parents[2] / "simulators" / "scenarios" / "line.yaml"
SPEED = 10.0
CUT = (449.75, 483.8)
KILLED = (696.2, 733.8)
BAD = (900.0, 905.0)
POWER_OFF = (999.0, 1023.2)


def line() -> Reconciliation:
    """Return the comparison of the line, played with its faults at ten times its pace, with books that are the truth."""
    scenario = load_scenario(LINE)
    books = Books(scenario.epoch)
    check = Reconciliation(scenario, truth(scenario), books, Inbox(), faults=True, speed=SPEED)
    for begin, end, reason, device, tag in (
        (*CUT, "comm_loss", "plc1", "plc1.*"),
        (*KILLED, "agent_down", None, "*"),
        (*BAD, "bad_quality", "plc1", "plc1.acc_count"),
        (*POWER_OFF, "comm_loss", "plc1", "plc1.*"),
    ):
        declare(check, begin, end, reason, device, tag)
        if reason != "bad_quality":
            books.agent.append((end, "device.connected", {"device": "plc1"}))
    books.told += [(449.75, 449.9, True), (697.75, 698.2, True)]
    _counts(check)
    _machine(check)
    _energy(check)
    return check


def declare(check: Reconciliation, begin: float, end: float, reason: str, device: str | None, *tags: str) -> None:
    """Put one gap into the books."""
    interval = [(check.books.epoch + timedelta(seconds=t)).isoformat() for t in (begin, end)]
    check.books.gaps.append(
        (end, {"reason": reason, "device": device, "interval": interval, "tags": list(tags), "lost": "unknown"})
    )


def _counts(check: Reconciliation) -> None:
    books, true = check.books, check.truth
    for part in parts(check.scenario):
        for disposition in ("total", *(("scrap",) if part.scrap else ())):
            books.counts[part.order, mode_name(part.mode), part.shift, disposition] += 1
    for counter in true.counters:
        name = "reject" if counter.name == "scrap" else counter.name
        books.totals[name] = (0, counter.counted)
        for kind, times in (("rollover", counter.rollovers), ("reset", counter.resets), ("device_restart", counter.restarts)):
            books.steps += [(t, {"counter": name, "kind": kind, "uncounted": {"min": 0, "max": 20}}) for t in times]
    books.steps += [
        (t, {"counter": "meter-main", "kind": "rollover", "uncounted": {"min": 0, "max": 0}}) for t in true.energy.wraps
    ]
    for order in true.orders:
        books.orders[order.order] = [order.started, order.ended]
    books.shifts = [(shift.start, {"shift_id": shift.shift}) for shift in true.shifts[1:]]


def _machine(check: Reconciliation) -> None:
    books, true = check.books, check.truth
    books.begin = (0.0, _state(2), {"name": "Production"})
    changes: list[tuple[float, int | None, int | None]] = [(one.t, one.old, one.new) for one in true.states]
    changes = [one if one[0] != 1020 else (1020.0, None, one[2]) for one in changes]
    changes += [(CUT[0], 6, None), (CUT[1], None, 6), (POWER_OFF[0], 4, None)]
    for t, old, new in sorted(changes, key=lambda one: one[0]):
        books.states.append((t, _state(old), _state(new), {"continuity": "assumed" if old is None and new == 6 else None}))
    books.modes = [(one.t, {"name": mode_name(one.old)}, {"name": mode_name(one.new)}) for one in true.modes]
    for stop in true.downtimes:
        told = Stop(
            stop.start,
            stop.order,
            stop.end,
            stop.duration,
            stop.category,
            stop.reason,
            stop.micro,
            int(stop.end is not None),
            began=True,
        )
        books.stops[f"d{stop.start:g}"] = told
    books.snapshot = {"downtime_id": "the open one"}
    for alarm in true.alarms:
        name = alarm.id if alarm.source == "plc" else f"{alarm.source}_{alarm.id}"
        books.alarms[name] = [name, alarm.raised, alarm.cleared]
        books.named.add(("alarm.raised", name))
    books.samples = [(one.t, one.serial, float(one.weight), one.verdict) for one in true.samples]


def _state(code: int | None) -> dict[str, Any]:
    return {"code": code, "category": {None: "unknown", 6: "running"}.get(code, "stopped")}


def _energy(check: Reconciliation) -> None:
    books, energy = check.books, check.truth.energy
    for order in check.truth.orders:
        books.energy[order.order] = order.energy_units
    books.energy[None] = energy.units - sum(books.energy.values())
    books.energy_wh = float(energy.units * energy.wh_per_unit)
