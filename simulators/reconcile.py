"""Truth against what arrived, row by row: the verdict of the MOM side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from simulators.blindness import MACHINE, POLL, SAMPLING, STATE_DEVICE
from simulators.compare import Row, mode_name, same, times_text
from simulators.compare_machine import MachineRows
from simulators.line import Line
from simulators.outcome import Kpi
from simulators.unseen import Part
from simulators.vocabulary import SECOND

METER = "meter-main"
"""The device that the energy is read from."""


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
            got = self.counted("total", order=order.order), self.counted("scrap", order=order.order)
            name, mine = f"order {order.order}", partial(_of_order, order.order)
            yield self.counts_row(f"{name} total/scrap/good", (order.total, order.scrap), got, "order", mine)
            begin, end = self._times(order.order, order.started)
            if begin is end is None and self.blindness.hidden(order.started, order.ended):
                yield Row(f"{name} started and completed", f"{order.started:.2f} s", "not seen", ok=True)
                continue
            for what, true, told in (("started", order.started, begin), ("completed", order.ended, end)):
                yield self.time_row(f"{name} {what}", true, told, SAMPLING)

    def _times(self, order: str, started: float) -> tuple[float | None, float | None]:
        """Return when an order was told to begin and to end; one that ran before anybody looked is not told to begin (a baseline)."""
        begin, end = self.books.orders.get(order, [None, None])
        return (0.0 if begin is None and started == 0 and any(o == order for o, *_ in self.books.counts) else begin), end

    def _no_order(self) -> Iterator[Row]:
        for one in self.truth.no_order:
            mode = mode_name(one.mode)
            got = self._unowned("total", mode), self._unowned("scrap", mode)
            what = f"no order, mode {mode}, total/scrap/good"
            yield self.counts_row(what, (one.total, one.scrap), got, "order", partial(_of_none, one.mode))
        known = {mode_name(one.mode) for one in self.truth.no_order}
        modes = {mode for (order, mode, _, _) in self.books.counts if order is None} - known
        yield same("counts on no order in other modes", "0", str(sum(self._unowned("total", m) for m in modes if m is not None)))
        stray = self.strays()
        several = sum(one.delta for one in self.books.spanned)
        text = f"{sum(one.delta for one in stray)}, and {several} in declared gaps" if several else "0"
        yield Row("counts booked to several contexts", "0", text, ok=not stray)

    def _unowned(self, disposition: str, mode: str) -> int:
        """Return the counts in ``mode`` that surely belong to no order."""
        unsure = (
            one.delta for one in self.books.spanned if one.disposition == disposition and one.mode == mode and "order" in one.spans
        )
        return self.counted(disposition, order=None, mode=[mode]) - sum(unsure)

    def _shifts(self) -> Iterator[Row]:
        for shift in self.truth.shifts:
            got = tuple(self.counted(what, shift=shift.shift, mode=self.production) for what in ("total", "scrap"))
            what, mine = f"shift {shift.shift} total/scrap/good", partial(_of_shift, shift.shift)
            yield self.counts_row(what, (shift.total, shift.scrap), (got[0], got[1]), "shift", mine)
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
            least, most = self._energy_bounds(order.started, order.ended)
            ok = least - 1 <= got <= most + 1
            yield Row(f"energy of {order.order} ({unit} Wh)", str(order.energy_units), str(got), ok=ok)
        far = abs(self.books.energy_wh - told * unit) > 0.01
        yield Row("energy in Wh", f"{told * unit}", f"{self.books.energy_wh:.1f}", ok=not far)

    def _energy_bounds(self, begin: float, end: float | None) -> tuple[int, int]:
        """Return the least and the most of an order: its ends are known to a poll, or to the declared gap around them."""
        line, last = Line(self.scenario), self.truth.length if end is None else end
        (earliest, first), (least_last, latest) = self._known(begin), self._known(last)

        def units(t: float) -> int:
            return line.energy_units(round(max(t, 0) * SECOND))

        unsure = sum(delta for since, until, delta in self.books.energy_spanned if since <= last and until >= begin)
        return units(least_last) - units(first) - unsure, units(latest) - units(earliest)

    def _known(self, time: float) -> tuple[float, float]:
        """Return between which times an order's energy may be cut: the polls around it, and the whole of a declared gap it lies in."""
        slack = 2 * POLL + MACHINE * self.speed
        gaps = (self.blindness.around(time, device) for device in (STATE_DEVICE, METER))
        found = [(gap[0] - slack, gap[1] + self.blindness.late + slack) for gap in gaps if gap is not None]
        return min((one[0] for one in found), default=time - slack), max((one[1] for one in found), default=time + slack)

    def _kpis(self) -> Iterator[Row]:
        for true in self.truth.kpis:
            begin, end = self._times(true.order, self._window(true.order)[0])
            if begin is None or end is None:
                yield Row(
                    f"OEE {true.order}", f"{true.oee:.5f}", "order incomplete", ok=self.blindness.hidden(*self._window(true.order))
                )
                continue
            apt, pbt = self._running(begin, end), end - begin
            pq = self.counted("total", order=true.order)
            gq = pq - self.counted("scrap", order=true.order)
            a, e, q = apt / pbt, (true.pri * pq / apt if apt else 0.0), (gq / pq if pq else 0.0)
            least, most = self._oee(true, begin, end)
            yield Row(
                f"{true.order} A, E, Q, OEE",
                f"{true.availability:.5f} {true.effectiveness:.5f} {true.quality:.5f} {true.oee:.5f}",
                f"{a:.5f} {e:.5f} {q:.5f} {a * e * q:.5f}",
                ok=least <= a * e * q <= most and abs(apt - true.apt) <= self._unknown(*self._window(true.order)) + 4 * SAMPLING,
            )

    def _oee(self, true: Kpi, begin: float, end: float) -> tuple[float, float]:
        """Return the least and the most OEE.

        It is planned run time per item x good parts / busy time. The good parts may be fewer by those that a sum may lack, and more by the scrap it may
        lack; the busy time is the told one where a declared gap hides an end (its own row bounds it), and the true one everywhere else.
        """
        mine, tolerance = partial(_of_order, true.order), 0.002 if self.faults else 0.0005
        moved = any(self.blindness.around(t) is not None for t in self._window(true.order))
        busy = end - begin if moved else true.pbt
        fewest, largest = true.gq - self.short("total", "order", mine), true.gq + self.short("scrap", "order", mine)
        return true.pri * fewest / busy - tolerance, true.pri * largest / busy + tolerance

    def _unknown(self, begin: float, end: float) -> float:
        """Return how many seconds of [begin, end) nobody can tell the state: declared gaps in which, or at whose ends, it changed."""
        changes = [one.t for one in (*self.truth.states, *self.truth.modes)]
        changes += [t / SECOND for reboot in self.scenario.machine.reboots for t in (reboot.off, reboot.on)]
        return sum(
            max(0.0, min(last + self.blindness.late, end) - max(first - SAMPLING, begin))
            for first, last in self.blindness.of()
            if any(first - SAMPLING <= t <= last + self.blindness.late for t in (*changes, begin, end))
        )

    def _window(self, name: str) -> tuple[float, float]:
        """Return when an order truly began and ended (the scenario's end where it did not)."""
        return next((one.started, one.ended or self.truth.length) for one in self.truth.orders if one.order == name)

    def _running(self, begin: float, end: float) -> float:
        """Seconds of running in [begin, end); an unknown period between two equal states without evidence of a break counts as that state."""
        edges = [(time, to, data) for time, _, to, data in self.books.states]
        if self.books.begin is not None:
            edges.insert(0, (*self.books.begin[:2], {}))
        outside, seconds = self._outside_production(), 0.0
        for index, (time, to, _) in enumerate(edges):
            until = edges[index + 1][0] if index + 1 < len(edges) else end
            category = to["category"]
            if category == "unknown" and 0 < index < len(edges) - 1:
                follows, continuity = edges[index + 1][1], edges[index + 1][2].get("continuity")
                if continuity in {"proven", "assumed"} and follows["code"] == edges[index - 1][1]["code"]:
                    category = follows["category"]
            if category == "running":
                first, last = max(time, begin), min(until, end)
                seconds += max(0.0, last - first) - sum(max(0.0, min(b, last) - max(a, first)) for a, b in outside)
        return seconds

    def _outside_production(self) -> list[tuple[float, float]]:
        """Return when the machine was told to be in a mode that is none of production."""
        first = self.books.begin[2] if self.books.begin else None
        edges = [(0.0, first)] if first else []
        edges += [(time, to) for time, _, to in self.books.modes]
        ends = [time for time, _ in edges[1:]] + [self.truth.length]
        return [(time, end) for (time, mode), end in zip(edges, ends, strict=False) if mode["name"] not in self.production]

    def _counters(self) -> Iterator[Row]:
        for counter in self.truth.counters:
            name = next(
                (n for n in self._counters_told() if n == counter.name or (counter.name == "scrap" and n == "reject")), counter.name
            )
            first, last = self.books.totals.get(name, (0, 0))
            unseen = sum(part.scrap or counter.name == "total" for part in self.unseen())
            missing = counter.counted - (last - first)
            bounds = sum(data["uncounted"]["max"] for _, data in self.books.steps if data["counter"] == name)
            ok = 0 <= missing <= min(unseen, bounds) if missing else True
            yield Row(f"counter {counter.name}: counted", str(counter.counted), str(last - first), ok=ok)
            for kind, times in (("rollover", counter.rollovers), ("reset", counter.resets), ("device_restart", counter.restarts)):
                told = [time for time, data in self.books.steps if data.get("counter") == name and data["kind"] == kind]
                yield Row(f"counter {counter.name}: {kind}", times_text(times), times_text(told), ok=self._same_times(times, told))

        known = {"baseline", "rollover", "reset", "device_restart"}
        yield same("other discontinuities", "0", str(sum(data["kind"] not in known for _, data in self.books.steps)))

    def _counters_told(self) -> list[str]:
        return [*self.books.totals, *(str(data["counter"]) for _, data in self.books.steps)]

    def _same_times(self, times: Iterable[float], told: list[float]) -> bool:
        """Compare instants one by one; of several in one window of blindness one may stand for all."""
        wanted = list(times)
        if len(told) < len(wanted):
            gaps = self.blindness.of()
            seen = [
                t
                for t in wanted
                if not any(first <= t <= last and any(t < later <= last for later in wanted) for first, last in gaps)
            ]
            wanted = seen if len(seen) == len(told) else wanted
        return len(wanted) == len(told) and all(
            self.close(a, b, 2 * SAMPLING, tags=True) for a, b in zip(wanted, told, strict=True)
        )

    # -- gaps, integrity -----------------------------------------------------------------------------------------

    def _gaps(self) -> Iterator[Row]:
        late = [data for _, data in self.books.gaps if data["reason"] == "sampling_overrun"]
        yield same("declared gaps that no fault explains", "0", str(len(self.blindness.astray())))
        yield same("faults that no gap covers", "0", str(len(self.blindness.undeclared())))
        span = sum(max(0.0, end - begin) for begin, end in map(self.blindness.interval, late))
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


def _of_order(order: str, part: Part) -> bool:
    return part.order == order


def _of_none(mode: int, part: Part) -> bool:
    return part.order is None and part.mode == mode


def _of_shift(shift: str, part: Part) -> bool:
    return part.production and part.shift == shift
