"""Truth against what arrived, row by row: the verdict of the MOM side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from simulators.blindness import SAMPLING
from simulators.compare import Row, mode_name, same, times_text
from simulators.compare_figures import FigureRows, of_order
from simulators.unseen import Part


class Reconciliation(FigureRows):
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
            *self.energy(),
            *self.kpis(),
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
            name, mine = f"order {order.order}", partial(of_order, order.order)
            yield self.counts_row(f"{name} total/scrap/good", (order.total, order.scrap), got, "order", mine)
            begin, end = self.times(order.order, order.started)
            if begin is end is None and self.blindness.hidden(order.started, order.ended):
                yield Row(f"{name} started and completed", f"{order.started:.2f} s", "not seen", ok=True)
                continue
            for what, true, told in (("started", order.started, begin), ("completed", order.ended, end)):
                yield self.time_row(f"{name} {what}", true, told, SAMPLING)

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

    # -- counters ------------------------------------------------------------------------------------------------

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

        registers = {each.name for each in self.truth.counters} | {"reject"}
        wraps = sum(data["kind"] == "rollover" and data["counter"] not in registers for _, data in self.books.steps)
        yield same("wraps of the energy register", str(len(self.truth.energy.wraps)), str(wraps))
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
        yield same("things told twice under two numbers", "0", str(len(self.books.twice)))
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


def _of_none(mode: int, part: Part) -> bool:
    return part.order is None and part.mode == mode


def _of_shift(shift: str, part: Part) -> bool:
    return part.production and part.shift == shift
