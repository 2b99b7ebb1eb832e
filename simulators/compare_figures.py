"""The figures of the comparison: energy by order, and the ISO 22400 KPIs of each finished order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from simulators.blindness import MACHINE, POLL, SAMPLING, STATE_DEVICE
from simulators.compare import Row
from simulators.compare_machine import MachineRows
from simulators.line import Line
from simulators.outcome import Kpi
from simulators.unseen import Part
from simulators.vocabulary import SECOND

METER = "meter-main"
"""The device that the energy is read from."""


class FigureRows(MachineRows):
    """Rows about energy and KPIs."""

    def times(self, order: str, started: float) -> tuple[float | None, float | None]:
        """Return when an order was told to begin and to end; one that ran before anybody looked is not told to begin (a baseline)."""
        begin, end = self.books.orders.get(order, [None, None])
        return (0.0 if begin is None and started == 0 and any(o == order for o, *_ in self.books.counts) else begin), end

    def energy(self) -> Iterator[Row]:
        """Yield the energy in all, of each order, and in Wh."""
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

    def kpis(self) -> Iterator[Row]:
        """Yield the figures of each finished order, made from what was told alone."""
        for true in self.truth.kpis:
            begin, end = self.times(true.order, self._window(true.order)[0])
            if begin is None or end is None or end <= begin:
                told = "order incomplete" if begin is None or end is None else "order of no length"
                yield Row(f"OEE {true.order}", f"{true.oee:.5f}", told, ok=self.blindness.hidden(*self._window(true.order)))
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
        lack; the busy time is the told one where a declared gap hides an end (its own row bounds it), and the true one everywhere else. Its two ends are
        known to a sampling each.
        """
        mine, tolerance = partial(of_order, true.order), min(0.0005, 2 * SAMPLING / true.pbt)
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


def of_order(order: str, part: Part) -> bool:
    """Return whether a part belongs to an order."""
    return part.order == order
