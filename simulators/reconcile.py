"""Truth against what arrived, row by row: the verdict of the MOM side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simulators.books import Books
from simulators.inbox import Inbox
from simulators.ledger import read_ledger
from simulators.outcome import Truth
from simulators.schema import Scenario
from simulators.vocabulary import MODES, SECOND

SAMPLING = 0.1
"""Plant seconds: one sampling interval, the tolerance of times that carry the PLC's own clock."""

POLL = 0.5
"""Plant seconds: one poll, the tolerance of times that the agent took itself."""

MACHINE = 0.05
"""Machine seconds that a polled value may be under way on a busy machine; times the demo's speed."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison."""

    what: str
    truth: str
    received: str
    ok: bool


class Reconciliation:
    """Compares the books with the truth of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        truth: Truth,
        books: Books,
        inbox: Inbox,
        *,
        faults: bool,
        speed: float,
        ledgers: Iterable[Path] = (),
    ) -> None:
        """``faults`` tells whether the scenario's faults were injected; ``ledgers`` are the simulators' own records of what reached them."""
        self.ledgers = [entry for path in ledgers for entry in read_ledger(path)]
        self.scenario, self.truth, self.books, self.inbox = scenario, truth, books, inbox
        self.faults, self.speed = faults, speed
        self.production = {_mode_name(mode) for mode in scenario.machine.production_modes}

    def rows(self) -> list[Row]:
        """Return every comparison."""
        return [
            *self._orders(),
            *self._no_order(),
            *self._shifts(),
            *self._stops(),
            *self._transitions(),
            *self._alarms(),
            *self._samples(),
            *self._energy(),
            *self._kpis(),
            *self._counters(),
            *self._gaps(),
            *self._integrity(),
        ]

    def report(self) -> dict[str, Any]:
        """Return rows and verdict, ready for JSON."""
        rows = self.rows()
        return {
            "ok": all(row.ok for row in rows),
            "scenario": self.scenario.name,
            "speed": self.speed,
            "faults": self.faults,
            "rows": [asdict(row) for row in rows],
            "received": self.inbox.tally.received,
            "applied": self.inbox.tally.applied,
            "duplicates": self.inbox.tally.duplicates,
            "lost": self.inbox.missing(),
            "conflicts": self.inbox.tally.conflicts,
            "gaps": [
                {"t": round(time, 3), **{k: data.get(k) for k in ("reason", "interval", "tags", "lost", "recovered")}}
                for time, data in self.books.gaps
            ],
        }

    # -- counts --------------------------------------------------------------------------------------------------

    def _sum(self, disposition: str, *, order: str | None = "*", mode: Iterable[str] | None = None, shift: str | None = "*") -> int:
        modes = None if mode is None else set(mode)
        return sum(
            delta
            for (o, m, s, d), delta in self.books.counts.items()
            if d == disposition and order in {"*", o} and shift in {"*", s} and (modes is None or m in modes)
        )

    def _orders(self) -> Iterator[Row]:
        for order in self.truth.orders:
            total, scrap = self._sum("total", order=order.order), self._sum("scrap", order=order.order)
            yield _row(
                f"order {order.order} total/scrap/good",
                f"{order.total}/{order.scrap}/{order.good}",
                f"{total}/{scrap}/{total - scrap}",
            )
            begin, end = self.books.orders.get(order.order, [None, None])
            for name, true, told in (("started", order.started, begin), ("completed", order.ended, end)):
                yield self._time_row(f"order {order.order} {name}", true, told, SAMPLING)

    def _no_order(self) -> Iterator[Row]:
        for one in self.truth.no_order:
            mode = _mode_name(one.mode)
            yield _row(
                f"no order, mode {mode}, total/scrap",
                f"{one.total}/{one.scrap}",
                f"{self._sum('total', order=None, mode=[mode])}/{self._sum('scrap', order=None, mode=[mode])}",
            )
        known = {_mode_name(one.mode) for one in self.truth.no_order}
        modes = {mode for (order, mode, _, _) in self.books.counts if order is None} - known
        yield _row(
            "counts on no order in other modes",
            "0",
            str(sum(self._sum("total", order=None, mode=[m]) for m in modes if m is not None)),
        )
        yield _row("counts booked to several contexts", "0", str(self.books.unassigned))

    def _shifts(self) -> Iterator[Row]:
        for shift in self.truth.shifts:
            total = self._sum("total", shift=shift.shift, mode=self.production)
            scrap = self._sum("scrap", shift=shift.shift, mode=self.production)
            yield _row(
                f"shift {shift.shift} total/scrap/good",
                f"{shift.total}/{shift.scrap}/{shift.good}",
                f"{total}/{scrap}/{total - scrap}",
            )
        for before, after in zip(self.truth.shifts, self.truth.shifts[1:], strict=False):
            told = next((time for time, data in self.books.shifts if data["shift_id"] == after.shift), None)
            yield self._time_row(f"shift {before.shift} to {after.shift}", after.start, told, 0.001)

    # -- stops, states, alarms -----------------------------------------------------------------------------------

    def _stops(self) -> Iterator[Row]:
        told = sorted(self.books.stops.values(), key=lambda stop: stop.start)
        for index, true in enumerate(self.truth.downtimes):
            stop = min(told, key=lambda each: abs(each.start - true.start), default=None)
            name = f"downtime {index + 1} at {true.start:g} s"
            if stop is None or abs(stop.start - true.start) > self._slack(true.start):
                yield Row(name, _stop_text(true.duration, true.category, true.reason, true.micro), "missing", ok=False)
                continue
            told.remove(stop)
            ok = (
                (stop.category, stop.reason, stop.micro, stop.order) == (true.category, true.reason, true.micro, true.order)
                if true.end is not None
                else (stop.end, stop.order) == (None, true.order)
            )
            near = (stop.duration is None) == (true.duration is None) and abs(
                (stop.duration or 0) - (true.duration or 0)
            ) <= 2 * SAMPLING
            once = stop.ended_events == (0 if true.end is None else 1)
            yield Row(
                name,
                _stop_text(true.duration, true.category, true.reason, true.micro),
                _stop_text(stop.duration, stop.category, stop.reason, stop.micro),
                ok=ok and once and (near or self._near_fault(true.start, true.end)),
            )
        yield _row("downtimes that did not happen", "0", str(len(told)))
        still = [stop for stop in self.books.stops.values() if stop.end is None]
        listed = (self.books.snapshot or {}).get("downtime_id")
        yield Row(
            "open downtime in the last snapshot",
            str(len(still)),
            str(int(listed is not None)),
            ok=len(still) == int(listed is not None),
        )

    def _transitions(self) -> Iterator[Row]:
        count = self.truth.state_changed_with_faults if self.faults else self.truth.state_changed
        missed = sum(1 for one in self.truth.states if self._near_fault(one.t, one.t)) if self.faults else 0
        told = len(self.books.states)
        yield Row(
            "state changes", str(count), str(told), ok=told == count if not missed else count - missed <= told <= count + missed
        )
        yield _row("mode changes", str(len(self.truth.modes)), str(len(self.books.modes)))
        broken = sum(
            abs(data["prev_duration_s"] - (time - before[0])) > 2 * SAMPLING
            for before, (time, _, _, data) in zip(self.books.states, self.books.states[1:], strict=False)
            if data.get("prev_duration_s") is not None
        )
        yield _row("states that do not join up", "0", str(broken))

    def _alarms(self) -> Iterator[Row]:
        told = sorted(self.books.alarms.values(), key=lambda alarm: alarm[1] or 0)
        for true in self.truth.alarms:
            polled = true.source != "plc"
            wanted = true.id if not polled else f"{true.source}_{true.id}"
            found = min((a for a in told if a[0] == wanted), key=lambda a: abs((a[1] or 0) - true.raised), default=None)
            tolerance = POLL + MACHINE * self.speed if polled else SAMPLING
            ok = (
                found is not None
                and self._close(true.raised, found[1], tolerance)
                and self._close(true.cleared, found[2], tolerance)
            )
            yield Row(
                f"alarm {wanted}",
                _span(true.raised, true.cleared),
                "missing" if found is None else _span(found[1], found[2]),
                ok=ok,
            )
        yield _row("alarms in all", str(len(self.truth.alarms)), str(len(told)))

    def _samples(self) -> Iterator[Row]:
        true = {sample.serial: sample for sample in self.truth.samples}
        yield _row("samples", str(len(true)), str(len(self.books.samples)))
        nok = [sample.t for sample in self.truth.samples if sample.verdict == "nok"]
        told = [true[serial].t for _, serial, _, verdict in self.books.samples if verdict == "nok" and serial in true]
        yield _row("NOK samples at", ", ".join(f"{t:g}" for t in nok) or "-", ", ".join(f"{t:g}" for t in sorted(told)) or "-")
        wrong = [
            serial
            for _, serial, value, verdict in self.books.samples
            if serial not in true or (value, verdict) != (float(true[serial].weight), true[serial].verdict)
        ]
        yield _row("samples with another value", "0", str(len(wrong)))

    # -- energy, figures, counters -------------------------------------------------------------------------------

    def _energy(self) -> Iterator[Row]:
        unit = self.truth.energy.wh_per_unit
        told = sum(self.books.energy.values())
        yield Row(f"energy in all ({unit} Wh)", str(self.truth.energy.units), str(told), ok=told == self.truth.energy.units)
        for order in self.truth.orders:
            got = self.books.energy.get(order.order, 0)
            yield Row(
                f"energy of {order.order} ({unit} Wh)", str(order.energy_units), str(got), ok=abs(got - order.energy_units) <= 1
            )
        far = abs(self.books.energy_wh - told * unit) > 0.01
        yield Row("energy in Wh", f"{told * unit}", f"{self.books.energy_wh:.1f}", ok=not far)

    def _kpis(self) -> Iterator[Row]:
        for true in self.truth.kpis:
            begin, end = self.books.orders.get(true.order, [None, None])
            if begin is None or end is None:
                yield Row(f"OEE {true.order}", f"{true.oee:.5f}", "order incomplete", ok=False)
                continue
            apt, pbt = self._running(begin, end), end - begin
            pq = self._sum("total", order=true.order)
            gq = pq - self._sum("scrap", order=true.order)
            a, e, q = apt / pbt, (true.pri * pq / apt if apt else 0.0), (gq / pq if pq else 0.0)
            tolerance = 0.0005 if not self.faults else 0.002
            yield Row(
                f"{true.order} A, E, Q, OEE",
                f"{true.availability:.5f} {true.effectiveness:.5f} {true.quality:.5f} {true.oee:.5f}",
                f"{a:.5f} {e:.5f} {q:.5f} {a * e * q:.5f}",
                ok=abs(a * e * q - true.oee) <= tolerance,
            )

    def _running(self, begin: float, end: float) -> float:
        """Seconds of running in [begin, end); an unknown period between two equal states without evidence of a break counts as that state."""
        edges = [(time, to, data) for time, _, to, data in self.books.states]
        seconds = 0.0
        for index, (time, to, _) in enumerate(edges):
            until = edges[index + 1][0] if index + 1 < len(edges) else end
            category = to["category"]
            if category == "unknown" and 0 < index < len(edges) - 1:
                follows, continuity = edges[index + 1][1], edges[index + 1][2].get("continuity")
                if continuity in {"proven", "assumed"} and follows["code"] == edges[index - 1][1]["code"]:
                    category = follows["category"]
            if category == "running":
                seconds += max(0.0, min(until, end) - max(time, begin))
        return seconds

    def _counters(self) -> Iterator[Row]:
        for counter in self.truth.counters:
            name = next(
                (n for n in self.books.totals if n == counter.name or (counter.name == "scrap" and n == "reject")), counter.name
            )
            first, last = self.books.totals.get(name, (0, 0))
            yield _row(f"counter {counter.name}: counted", str(counter.counted), str(last - first))
            for kind, times in (("rollover", counter.rollovers), ("reset", counter.resets), ("device_restart", counter.restarts)):
                told = [time for time, data in self.books.steps if data.get("counter") == name and data["kind"] == kind]
                yield Row(f"counter {counter.name}: {kind}", _times(times), _times(told), ok=self._same_times(times, told))

        known = {"baseline", "rollover", "reset", "device_restart"}
        yield _row("other discontinuities", "0", str(sum(data["kind"] not in known for _, data in self.books.steps)))

    def _same_times(self, times: Iterable[float], told: list[float]) -> bool:
        wanted = list(times)
        return len(wanted) == len(told) and all(abs(a - b) <= self._slack(a) for a, b in zip(wanted, told, strict=True))

    # -- gaps, integrity -----------------------------------------------------------------------------------------

    def _windows(self) -> list[tuple[float, float]]:
        """Return when data may truly be missing: power off, and the faults that were injected, up to the agent's return."""
        windows = [(reboot.off, reboot.on) for reboot in self.scenario.machine.reboots]
        if self.faults:
            injected = self.scenario.faults
            windows += [*injected.link_cuts, *injected.agent_kills, *(bad.window for bad in injected.bad_status)]
        result = []
        for begin, end in windows:
            begin_s, end_s = begin / SECOND, end / SECOND
            back = min(
                (time for time, name, _ in self.books.agent if name in {"agent.started", "device.connected"} and time >= end_s),
                default=end_s,
            )
            result.append((begin_s - 2 * POLL, max(end_s, back if back - end_s < 10 * self.speed else end_s) + 2 * POLL))
        return result

    def _near_fault(self, begin: float, end: float | None) -> bool:
        return any(first <= (end if end is not None else begin) and begin <= last for first, last in self._windows())

    def _slack(self, time: float) -> float:
        """A time inside a fault window is known only to lie in the window."""
        return max((last - first for first, last in self._windows() if first <= time <= last), default=2 * SAMPLING)

    def _gaps(self) -> Iterator[Row]:
        late = [data for _, data in self.books.gaps if data["reason"] == "sampling_overrun"]
        others = [(time, data) for time, data in self.books.gaps if data["reason"] != "sampling_overrun"]
        stray = [data for _, data in others if not self._near_fault(*self._interval(data))]
        yield _row("declared gaps that cover no fault", "0", str(len(stray)))
        uncovered = [w for w in self._windows() if not any(self._overlaps(w, data) for _, data in others)]
        yield _row("faults without a declared gap", "0", str(len(uncovered)))
        span = sum(max(0.0, end - begin) for begin, end in map(self._interval, late))
        yield Row(
            "polls too late for the machine (s)",
            f"<= {self.truth.length * 0.05:.0f}",
            f"{span:.1f} in {len(late)}",
            ok=span <= self.truth.length * 0.05,
        )

    def _interval(self, data: dict[str, Any]) -> tuple[float, float]:
        begin, end = data["interval"]
        first = self.books.t(begin)
        return first, self.books.t(end) if end else first

    def _overlaps(self, window: tuple[float, float], data: dict[str, Any]) -> bool:
        begin, end = self._interval(data)
        return begin <= window[1] and end >= window[0]

    def _integrity(self) -> Iterator[Row]:
        tally = self.inbox.tally
        yield _row("events missing and undeclared", "0", str(self.inbox.missing()))
        yield _row("events declared lost", "0", str(tally.declared_missing))
        yield _row("numbers or ids that contradict", "0", str(len(tally.conflicts)))
        yield _row("totals that do not add up", "0", str(len(self.books.disagreeing)))
        yield _row("events from the future", "0", str(self.books.early))
        yield _row("event types not in the catalogue", "0", str(sum(self.books.unknown_types.values())))
        hot = [
            value for tag, time, value, q in self.books.readings if tag.endswith(".pv") and q != 2 and not self._plausible(value)
        ]
        yield _row("heater values that never were", "0", str(len(hot)))

    def _plausible(self, value: float) -> bool:
        heater = self.scenario.heater
        return abs(value - heater.mean) <= abs(heater.amplitude) + 0.1

    # -- small things --------------------------------------------------------------------------------------------

    def _close(self, true: float | None, told: float | None, tolerance: float) -> bool:
        if true is None or told is None:
            return true is None and told is None
        return abs(true - told) <= max(tolerance, self._slack(true) if self._near_fault(true, true) else 0)

    def _time_row(self, what: str, true: float | None, told: float | None, tolerance: float) -> Row:
        return Row(what, _time(true), _time(told), ok=self._close(true, told, tolerance))


def _row(what: str, truth: str, received: str) -> Row:
    return Row(what, truth, received, ok=truth == received)


def _mode_name(mode: int) -> str:
    return next((name for name, number in MODES.items() if number == mode), str(mode))


def _time(t: float | None) -> str:
    return "open" if t is None else f"{t:.2f} s"


def _times(times: Iterable[float]) -> str:
    return ", ".join(f"{t:.2f}" for t in times) or "-"


def _span(begin: float | None, end: float | None) -> str:
    return f"{_time(begin)} to {_time(end)}"


def _stop_text(duration: float | None, category: str, reason: int | None, micro: bool | None) -> str:
    if duration is None:
        return f"open {category}"
    return f"{duration:.1f} s {category}{f' {reason}' if reason else ''}{' micro' if micro else ''}"
