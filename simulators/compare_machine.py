"""The machine's side of the comparison: downtimes, states, alarms, samples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from simulators.blindness import MACHINE, POLL, SAMPLING, STATE_DEVICE, UNDER_WAY
from simulators.books import Stop
from simulators.compare import Comparison, Row, mode_name, same, span_text, stop_text
from simulators.line import Line
from simulators.outcome import SampleTruth, Transition
from simulators.stops import Downtime, categories
from simulators.vocabulary import SECOND

HANDSHAKE = 1.0
"""Machine seconds for a sample that waits in the PLC: seen, on the agent's disk, acknowledged, and the next one shown; times the speed."""


class MachineRows(Comparison):
    """Rows about what the machine did."""

    def stops(self) -> Iterator[Row]:
        """Yield one row per true downtime, and what was invented."""
        told = sorted(self.books.stops.values(), key=lambda stop: stop.start)
        for index, true in enumerate(self.truth.downtimes):
            stop = min(told, key=lambda each: abs(each.start - true.start), default=None)
            name = f"downtime {index + 1} at {true.start:g} s"
            if stop is None or not self.close(true.start, stop.start, 2 * SAMPLING):
                wanted = stop_text(true.duration, true.category, true.reason, true.micro)
                yield Row(name, wanted, "not seen", ok=self.blindness.hidden(true.start, true.end))
                continue
            told.remove(stop)
            yield Row(
                name,
                stop_text(true.duration, true.category, true.reason, true.micro),
                stop_text(stop.duration, stop.category, stop.reason, stop.micro),
                ok=self._is_told(stop, true) and self._is_timed(stop, true),
            )
        yield same("downtimes that did not happen", "0", str(len(told)))
        still = [stop for stop in self.books.stops.values() if stop.end is None]
        listed = (self.books.snapshot or {}).get("downtime_id")
        yield Row(
            "open downtime in the last snapshot",
            str(len(still)),
            str(int(listed is not None)),
            ok=len(still) == int(listed is not None),
        )

    def _is_told(self, stop: Stop, true: Downtime) -> bool:
        """Return whether order, category and reason are the true ones; those that lay in a declared gap may be what was found behind it."""
        orders = {true.order}
        if (gap := self.blindness.around(true.start)) is not None:
            orders |= {self.order_at(stop.start), self.order_at(gap[1])}
        latched = next((one for one in self.scenario.stop_reasons if one.id == true.reason), None)
        reasons = {true.reason}
        if latched is not None:
            stood = min(latched.cleared / SECOND, self.truth.length if true.end is None else true.end)
            reasons |= {None} if self.blindness.hidden((latched.stop + latched.delay) / SECOND, stood) else set()
        known = stop.end is None or stop.category in self._categories(true)  # that of an open one may still be told
        return stop.order in orders and (true.end is None or stop.reason in reasons) and known

    def _categories(self, true: Downtime) -> set[str]:
        """Return what may be the first category that was seen; without a gap it is the true one."""
        found, early = set[str](), max(POLL, UNDER_WAY * self.speed)
        for begin, end, category in categories(Line(self.scenario), true):
            gap = self.blindness.around(begin)
            unseen = gap is not None and self.blindness.hidden(begin, end)
            if gap is None or not unseen or begin <= gap[0] + early:
                found.add(category)
            if gap is None or end > gap[1] + SAMPLING:
                return found
        return found | {"stopped"}

    def _is_timed(self, stop: Stop, true: Downtime) -> bool:
        """Return whether it was told to begin, ended once and when it did, and its duration and whether it was short follow from that."""
        if stop.end is None or true.end is None:
            return stop.began and stop.end is true.end is None and stop.ended_events == 0
        lasted, truly = stop.end - stop.start, true.end - true.start
        near = abs(lasted - truly) <= 2 * SAMPLING
        return (
            stop.began
            and stop.ended_events == 1
            and self.close(true.end, stop.end, 2 * SAMPLING)
            and abs((stop.duration or 0.0) - lasted) <= SAMPLING
            and stop.micro == (true.micro if near else lasted < self.scenario.judge.micro_stop / SECOND)
        )

    def transitions(self) -> Iterator[Row]:
        """Yield the numbers of state and mode changes, and whether durations join up."""
        for what, true, told in (("state", self.truth.states, self.books.states), ("mode", self.truth.modes, self.books.modes)):
            least, most = self._visible(true, through_unknown=what == "state")
            wanted = str(least) if least == most else f"{least} to {most}"
            yield Row(f"{what} changes", wanted, str(len(told)), ok=least <= len(told) <= most)
            yield same(f"{what} changes told otherwise", "0", str(self._otherwise(what, true)))
        broken = sum(
            abs(data["prev_duration_s"] - (time - before[0])) > 2 * SAMPLING
            for before, (time, _, _, data) in zip(self.books.states, self.books.states[1:], strict=False)
            if data.get("prev_duration_s") is not None
        )
        yield same("states that do not join up", "0", str(broken))

    def _otherwise(self, what: str, true: Sequence[Transition]) -> int:
        """Return how many changes outside the declared gaps are not told as they were, or were not as they are told."""

        def seen(t: float) -> bool:
            return not any(begin - SAMPLING <= t <= end + self.blindness.late for begin, end in self.blindness.of())

        told: list[tuple[float, object, object]]
        real: list[tuple[float, object, object]]
        if what == "state":
            told = [(time, before["code"], after["code"]) for time, before, after, _ in self.books.states]
            real = [(one.t, one.old, one.new) for one in true]
        else:
            told = [(time, before["name"], after["name"]) for time, before, after in self.books.modes]
            real = [(one.t, mode_name(one.old), mode_name(one.new)) for one in true]

        def in_one(t: float, old: object, new: object, others: Sequence[tuple[float, object, object]]) -> bool:
            return any(abs(t - time) <= 2 * SAMPLING and (old, new) == (before, after) for time, before, after in others)

        return sum(seen(one[0]) and not in_one(*one, told) for one in real) + sum(
            seen(one[0]) and not in_one(*one, real) for one in told
        )

    def _visible(self, true: Sequence[Transition], *, through_unknown: bool) -> tuple[int, int]:
        """Return the least and the most changes there are to report; without faults both are the scenario's own number.

        Those outside declared blindness, for a state a pair through Unknown for each loss of the PLC, and what an absence of the agent
        changed: it may have told some of what came just before, and a PLC that restarted meanwhile is a pair through Unknown, too.
        """
        blind = self._declared_blind()
        least = most = sum(not any(begin < one.t <= end for _, begin, end in blind) for one in true)
        for lost, begin, end in blind:
            inside = [one for one in true if begin < one.t <= end]
            told = 0 if lost else sum(one.t <= begin + max(POLL, UNDER_WAY * self.speed) for one in inside)
            ways = [n + (n < len(inside) and inside[n].old != inside[-1].new) for n in range(told + 1)]
            if through_unknown and lost:
                ways = [2]
            elif through_unknown and any(begin < reboot.off / SECOND <= end for reboot in self.scenario.machine.reboots):
                ways += [n + 2 for n in range(told + 1)]
            least, most = least + min(ways), most + max(ways)
        return least, most

    def _declared_blind(self) -> list[tuple[bool, float, float]]:
        """Return (PLC lost, begin, end) of each declared blindness for the state; an absence of the agent within a loss is part of it."""
        found: list[tuple[bool, float, float]] = []
        gaps = [
            (gap.begin, gap.end, gap.reason == "comm_loss", gap.device or STATE_DEVICE)
            for gap in self.blindness.gaps()
            if gap.reason in {"comm_loss", "agent_down"}
        ]
        for begin, end, lost, device in sorted(gaps):
            if end <= begin or device != STATE_DEVICE:
                continue
            if found and begin < found[-1][2]:
                before = found.pop()
                found.append((before[0] or lost, before[1], max(before[2], end)))
            else:
                found.append((lost, begin, end))
        return found

    def alarms(self) -> Iterator[Row]:
        """Yield one row per true alarm, and their number."""
        told = sorted(self.books.alarms.values(), key=lambda alarm: alarm[1] or 0)
        unseen = 0
        for true in self.truth.alarms:
            polled = true.source != "plc"
            wanted = true.id if not polled else f"{true.source}_{true.id}"
            found = min((a for a in told if a[0] == wanted), key=lambda a: abs((a[1] or 0) - true.raised), default=None)
            tolerance = POLL + MACHINE * self.speed if polled else SAMPLING
            device = true.source if polled else STATE_DEVICE
            ok = (
                found is not None
                and self.close(true.raised, found[1], tolerance, device)
                and self.close(true.cleared, found[2], tolerance, device)
            )
            if not ok and self.blindness.hidden(true.raised, true.cleared, device):
                unseen, found, ok = unseen + 1, None, True
            yield Row(
                f"alarm {wanted}",
                span_text(true.raised, true.cleared),
                "not seen" if found is None else span_text(found[1], found[2]),
                ok=ok,
            )
        silent = [
            alarm[0]
            for name, alarm in self.books.alarms.items()
            if ("alarm.raised", name) not in self.books.named and alarm[1] is not None and not self._found(alarm[1])
        ]
        yield same("alarms that a snapshot alone tells", "0", str(len(silent)))
        yield same("alarms in all", str(len(self.truth.alarms) - unseen), str(len(told)))

    def _found(self, time: float) -> bool:
        """Return whether what began then was found standing: before anybody looked, or in a declared gap."""
        return time <= SAMPLING or self.blindness.around(time) is not None

    def samples(self) -> Iterator[Row]:
        """Yield the samples, their verdicts and their values; those of one serial number in their order."""
        told: dict[str | None, list[tuple[float, str]]] = defaultdict(list)
        for _, serial, value, verdict in sorted(self.books.samples):
            told[serial].append((value, verdict))
        true = self._samples_to_tell({serial: len(some) for serial, some in told.items()})
        yield same("samples", str(len(true)), str(len(self.books.samples)))
        found = [(sample, told[sample.serial].pop(0)) for sample in true if told[sample.serial]]
        nok = (
            [sample.t for sample in true if sample.verdict == "nok"],
            [sample.t for sample, (_, verdict) in found if verdict == "nok"],
        )
        yield same("NOK samples at", *(", ".join(f"{t:g}" for t in times) or "-" for times in nok))
        wrong = sum((sample.weight, sample.verdict) != one for sample, one in found) + sum(map(len, told.values()))
        yield same("samples with another value", "0", str(wrong))

    def _samples_to_tell(self, told: Mapping[str | None, int]) -> list[SampleTruth]:
        """Return the samples without those that the PLC lost with its power, by its own ledger, before they were acknowledged.

        One that was read but not acknowledged is told all the same; ``told`` counts what came by serial number.
        """
        lost = {entry["value"]["k"] for entry in self.ledgers if entry["what"] == "sample.lost"}
        if self.faults and self.ledgers:
            taken = {entry["value"]["k"] for entry in self.ledgers if entry["what"] == "sample.acknowledged"}
            lost |= {sample.k for sample in self._waiting() if sample.k not in taken}
        spare = Counter(told)
        spare.subtract(sample.serial for sample in self.truth.samples if sample.k not in lost)
        found = []
        for sample in self.truth.samples:
            if sample.k in lost:
                spare[sample.serial] -= 1
                if spare[sample.serial] < 0:
                    continue
            found.append(sample)
        return found

    def _waiting(self) -> list[SampleTruth]:
        """Return the samples that may still wait in the PLC at the end: those since a fault after which there was no time to take them all."""
        for begin, end in self.blindness.windows(bad=False):
            found = [sample for sample in self.truth.samples if sample.t >= begin]
            queued = sum(sample.t <= end for sample in found)
            if end + queued * HANDSHAKE * self.speed + self.scenario.faults.reraise_after / SECOND > self.truth.length:
                return found
        return []
