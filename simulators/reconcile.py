"""Truth against what arrived, row by row: the verdict of the MOM side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from simulators.compare import SAMPLING, Row, mode_name, same, times_text
from simulators.compare_machine import MachineRows


class Reconciliation(MachineRows):
    """Compares the books with the truth of a scenario."""

    def rows(self) -> list[Row]:
        """Return every comparison."""
        return [
            *self._orders(),
            *self._no_order(),
            *self._shifts(),
            *self.stops(),
            *self.transitions(),
            *self.alarms(),
            *self.samples(),
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

    def _orders(self) -> Iterator[Row]:
        for order in self.truth.orders:
            total, scrap = self.counted("total", order=order.order), self.counted("scrap", order=order.order)
            yield same(
                f"order {order.order} total/scrap/good",
                f"{order.total}/{order.scrap}/{order.good}",
                f"{total}/{scrap}/{total - scrap}",
            )
            begin, end = self.books.orders.get(order.order, [None, None])
            for name, true, told in (("started", order.started, begin), ("completed", order.ended, end)):
                yield self.time_row(f"order {order.order} {name}", true, told, SAMPLING)

    def _no_order(self) -> Iterator[Row]:
        for one in self.truth.no_order:
            mode = mode_name(one.mode)
            yield same(
                f"no order, mode {mode}, total/scrap",
                f"{one.total}/{one.scrap}",
                f"{self.counted('total', order=None, mode=[mode])}/{self.counted('scrap', order=None, mode=[mode])}",
            )
        known = {mode_name(one.mode) for one in self.truth.no_order}
        modes = {mode for (order, mode, _, _) in self.books.counts if order is None} - known
        yield same(
            "counts on no order in other modes",
            "0",
            str(sum(self.counted("total", order=None, mode=[m]) for m in modes if m is not None)),
        )
        yield same("counts booked to several contexts", "0", str(self.books.unassigned))

    def _shifts(self) -> Iterator[Row]:
        for shift in self.truth.shifts:
            total = self.counted("total", shift=shift.shift, mode=self.production)
            scrap = self.counted("scrap", shift=shift.shift, mode=self.production)
            yield same(
                f"shift {shift.shift} total/scrap/good",
                f"{shift.total}/{shift.scrap}/{shift.good}",
                f"{total}/{scrap}/{total - scrap}",
            )
        for before, after in zip(self.truth.shifts, self.truth.shifts[1:], strict=False):
            told = next((time for time, data in self.books.shifts if data["shift_id"] == after.shift), None)
            yield self.time_row(f"shift {before.shift} to {after.shift}", after.start, told, 0.001)

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
            pq = self.counted("total", order=true.order)
            gq = pq - self.counted("scrap", order=true.order)
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
            yield same(f"counter {counter.name}: counted", str(counter.counted), str(last - first))
            for kind, times in (("rollover", counter.rollovers), ("reset", counter.resets), ("device_restart", counter.restarts)):
                told = [time for time, data in self.books.steps if data.get("counter") == name and data["kind"] == kind]
                yield Row(f"counter {counter.name}: {kind}", times_text(times), times_text(told), ok=self._same_times(times, told))

        known = {"baseline", "rollover", "reset", "device_restart"}
        yield same("other discontinuities", "0", str(sum(data["kind"] not in known for _, data in self.books.steps)))

    def _same_times(self, times: Iterable[float], told: list[float]) -> bool:
        wanted = list(times)
        return len(wanted) == len(told) and all(abs(a - b) <= self.slack(a) for a, b in zip(wanted, told, strict=True))

    # -- gaps, integrity -----------------------------------------------------------------------------------------

    def _gaps(self) -> Iterator[Row]:
        late = [data for _, data in self.books.gaps if data["reason"] == "sampling_overrun"]
        others = [(time, data) for time, data in self.books.gaps if data["reason"] != "sampling_overrun"]
        stray = [data for _, data in others if not self.near_fault(*self.interval(data))]
        yield same("declared gaps that cover no fault", "0", str(len(stray)))
        uncovered = [w for w in self.windows() if not any(self.overlaps(w, data) for _, data in others)]
        yield same("faults without a declared gap", "0", str(len(uncovered)))
        span = sum(max(0.0, end - begin) for begin, end in map(self.interval, late))
        yield Row(
            "polls too late for the machine (s)",
            f"<= {self.truth.length * 0.05:.0f}",
            f"{span:.1f} in {len(late)}",
            ok=span <= self.truth.length * 0.05,
        )

    def _integrity(self) -> Iterator[Row]:
        tally = self.inbox.tally
        yield same("events missing and undeclared", "0", str(self.inbox.missing()))
        yield same("events declared lost", "0", str(tally.declared_missing))
        yield same("numbers or ids that contradict", "0", str(len(tally.conflicts)))
        yield same("totals that do not add up", "0", str(len(self.books.disagreeing)))
        yield same("events from the future", "0", str(self.books.early))
        yield same("event types not in the catalogue", "0", str(sum(self.books.unknown_types.values())))
        hot = [
            value for tag, time, value, q in self.books.readings if tag.endswith(".pv") and q != 2 and not self._plausible(value)
        ]
        yield same("heater values that never were", "0", str(len(hot)))

    def _plausible(self, value: float) -> bool:
        heater = self.scenario.heater
        return abs(value - heater.mean) <= abs(heater.amplitude) + 0.1
