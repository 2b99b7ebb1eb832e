"""Truth and books of a plant, row by row: sums have to be equal, lists have to be the same in order and in time, and nothing may be invented."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simulators.blindness import SAMPLING, Blindness, Declared
from simulators.compare import Row, same
from simulators.inbox import Inbox
from simulators.ledger import read_ledger
from simulators.plant.books import PlantBooks
from simulators.plant.facts import Fact, Facts, Key
from simulators.plant.schema import PlantScenario
from simulators.plant.tracks import Plant
from simulators.plant.truth import facts_of

_SHOWN = 12
"""So many keys of a sum get a row each; a longer one (serials) gets one for all."""

_OF = {
    "cycle.completed": "cycles by order",
    "unit.produced": "units by serial",
    "scrap.recorded": "rejects by reason",
    "material.consumed": "genealogy",
    "material.lot_changed": "lots",
    "recipe.changed": "recipe",
    "setpoint.changed": "setpoints",
    "shift.changed": "shifts",
}
"""What has to be there in truth for a type of event to be in place."""

_ALWAYS = {
    "production.count", "counter.discontinuity", "collection.gap", "state.changed", "state.snapshot", "downtime.started", "downtime.ended",
    "downtime.reason", "order.started", "order.completed", "order.paused", "order.resumed", "order.aborted",
}  # fmt: skip
_RETURN = 1.0
"""Machine seconds after its return in which an agent has read what a server kept for it; times the speed."""

_AGENT = ("agent.", "device.", "clock.", "config.")


class PlantCheck:
    """Compares the books of one run with what its plant truly made."""

    def __init__(
        self, scenario: PlantScenario, books: PlantBooks, inbox: Inbox, *, faults: bool, speed: float, ledgers: Iterable[Path]
    ) -> None:
        """``faults``: the scenario's were injected; ``ledgers`` are the simulators' own records."""
        self.scenario, self.books, self.inbox, self.faults, self.speed = scenario, books, inbox, faults, speed
        self.truth = facts_of(Plant(scenario), speed)
        self.blindness = Blindness(scenario, books, faults=faults, speed=speed)
        self.entries = [entry for path in ledgers if path.exists() for entry in read_ledger(path)]

    def rows(self) -> list[Row]:
        """Return every comparison."""
        told: Facts = self.books.facts
        kinds = dict.fromkeys((*self.truth.sums, *told.sums))
        rows = [row for kind in kinds for row in self._sums(kind, self.truth.sums.get(kind, {}), told.sums.get(kind, {}))]
        lists = dict.fromkeys((*self.truth.lists, *told.lists))
        rows += [self._list(kind, self.truth.lists.get(kind, []), told.lists.get(kind, [])) for kind in lists]
        return [*rows, *self._integrity()]

    def _sums(self, kind: str, truth: dict[Key, float], told: dict[Key, float]) -> Iterator[Row]:
        kept = kind.partition(" by ")[2]
        if kept and not truth and set(told) == {("",)}:
            return  # a context that this plant does not have
        keys = dict.fromkeys((*truth, *told))
        if len(keys) > _SHOWN:
            wrong = [key for key in keys if truth.get(key, 0) != told.get(key, 0)]
            text = f"{len(told)}, sum {sum(told.values()):g}" + "".join(f"; {_name(key)} {told.get(key, 0):g}" for key in wrong[:5])
            yield Row(kind, f"{len(truth)}, sum {sum(truth.values()):g}", text, ok=not wrong)
            return
        for key in keys:
            yield same(f"{kind}: {_name(key)}", f"{truth.get(key, 0):g}", f"{told.get(key, 0):g}")

    def _list(self, kind: str, truth: list[Fact], told: list[Fact]) -> Row:
        right = [one.text for one in truth] == [one.text for one in told] and all(
            self._in_time(one, other) for one, other in zip(truth, told, strict=True)
        )
        return Row(kind, _text(truth), _text(told), ok=right)

    def _in_time(self, true: Fact, told: Fact) -> bool:
        gap = self.blindness.around(true.t, tags=True)
        unseen = gap is not None and gap[0] - SAMPLING <= told.t <= gap[1] + self.blindness.late
        late = any(begin - SAMPLING <= true.t <= end and told.t <= end + self.blindness.late for begin, end in self._late())
        return (late and told.t >= true.t - SAMPLING) or -SAMPLING <= told.t - true.t <= true.slack + 0.001 or unseen

    def _late(self) -> list[tuple[float, float]]:
        """Return when polls were too late for the machine, as declared: what changed there may be told when it was read next."""
        return [self.blindness.interval(data) for _, data in self.books.gaps if data["reason"] == "sampling_overrun"]

    def _integrity(self) -> Iterator[Row]:
        tally, books = self.inbox.tally, self.books
        placed = {name for name, kind in _OF.items() if self.truth.sums.get(kind) or self.truth.lists.get(kind)}
        odd = {name: n for name, n in books.types.items() if name not in placed | _ALWAYS and not name.startswith(_AGENT)}
        yield same("events of types that have no place here", "none", ", ".join(f"{n} {name}" for name, n in odd.items()) or "none")
        yield same("events on several contexts", "0", str(len(books.across)))
        yield same("resets and restarts that never were", "0", str(self._steps()))
        yield same("declared gaps that no fault explains", "0", str(len(self._astray())))
        yield same("faults that no gap covers", "0", str(len(self.blindness.undeclared())))
        yield same("events missing and undeclared", "0", str(self.inbox.missing()))
        yield same("events declared lost", "0", str(tally.declared_missing))
        yield same("numbers or ids that contradict", "0", str(len(tally.conflicts)))
        yield same("things told twice under two numbers", "0", str(len(books.twice)))
        yield same("totals that do not add up", "0", str(len(books.disagreeing)))
        yield same("events from the future", "0", str(books.early))
        yield same("writes to a PLC", "0", str(sum(entry["what"] in {"violation", "write"} for entry in self.entries)))

    def _astray(self) -> list[Declared]:
        """Return the gaps without a cause; what single tags lack of what a server kept while nobody read it belongs to that absence."""

        def part_of_an_absence(gap: Declared) -> bool:
            whole = any(tag.endswith("*") for tag in gap.tags)
            late = gap.end - _RETURN * self.speed
            return not whole and any(begin <= gap.begin and late <= end for begin, end in self.blindness.windows(bad=False))

        return [gap for gap in self.blindness.astray() if not part_of_an_absence(gap)]

    def _steps(self) -> int:
        return sum(data["kind"] not in {"baseline", "rollover"} for _, data in self.books.steps)

    def report(self) -> dict[str, Any]:
        """Return rows and verdict, ready for JSON."""
        rows, tally = self.rows(), self.inbox.tally
        return {
            "ok": all(row.ok for row in rows),
            "scenario": self.scenario.name,
            "speed": self.speed,
            "faults": self.faults,
            "rows": [asdict(row) for row in rows],
            "received": tally.received,
            "applied": tally.applied,
            "duplicates": tally.duplicates,
            "lost": self.inbox.missing(),
            "conflicts": tally.conflicts,
            "gaps": [
                {"t": round(time, 3), **{k: data.get(k) for k in ("reason", "interval", "tags", "lost", "recovered")}}
                for time, data in self.books.gaps
            ],
        }


def _name(key: Key) -> str:
    return " ".join(part or "-" for part in key)


def _text(facts: list[Fact]) -> str:
    return ", ".join(f"{one.t:.1f} {one.text}" for one in facts) or "-"


def as_json(facts: Facts) -> str:
    """Return facts as JSON, for people who want to see a plant's truth."""
    sums = {kind: {_name(key): amount for key, amount in one.items()} for kind, one in facts.sums.items()}
    return json.dumps({"sums": sums, "lists": {kind: _text(one) for kind, one in facts.lists.items()}}, indent=1)
