"""The demo line as a unit receives it: the scenario's own functions of t, cut into batches, with links, restarts and delays of the harness."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from edge_agent.events.catalog import UnitConfig, fold_of
from edge_agent.events.derive import Fold, Tick
from edge_agent.events.shift import Calendar, ShiftConfig
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import MS, NS, parse
from edge_agent.model.reading import AgentDown, Batch, Boot, DeviceDown, DeviceUp, Notice, Snapshot, Tag
from simulators.line import Change, Line, Sample
from simulators.scenario import load_scenario
from simulators.schema import Scenario

ROOT = Path(__file__).parents[2]
T0 = parse("2026-10-25T04:50:00Z")
_NAMES = {"acc_count": "total", "reject": "scrap"}
_RECORD = ("rec_seq", "rec_weight", "rec_verdict", "rec_serial", "rec_seq_end", "rec_ack")


def _yaml(path: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(ROOT / "config" / path)
    return content


def devices() -> dict[str, tuple[Tag, ...]]:
    """Return the tags of the demo line's devices as their files declare them."""
    found = {}
    for device in ("plc1", "meter-main", "heater"):
        tags = _yaml(f"devices/{device}.yaml")["tags"].items()
        found[device] = tuple(
            Tag(device, name, one.get("type"), one.get("scale", 1.0), uom=one.get("uom"), acknowledge=one.get("acknowledge", False))
            for name, one in tags
        )
    return found


def demo_fold(**options: Any) -> Fold:
    """Return the fold of the demo line's unit."""
    shifts = {name: ShiftConfig(**one) for name, one in _yaml("agent.yaml")["shifts"].items()}
    unit = UnitConfig.model_validate(_yaml("units/filler.yaml"))
    return fold_of(unit, devices=devices(), calendar=Calendar(shifts, "Europe/Berlin"), **options)


@cache
def _story() -> tuple[Line, list[Change], list[Sample]]:
    """Return the shipped scenario with everything that happens in it, computed once."""
    line = Line(load_scenario(ROOT / "simulators/scenarios/line.yaml"))
    return line, line.changes(-1, line.length), line.samples()


@dataclass(frozen=True)
class Faults:
    """What the harness does: windows in seconds; ``delay`` is the longest way from the PLC to the unit (s)."""

    cuts: tuple[tuple[float, float], ...] = ()
    kills: tuple[tuple[float, float], ...] = ()
    bad_count: tuple[tuple[float, float], ...] = ()
    delay: float = 0.05
    seed: int = 0


@dataclass
class Player:
    """Plays the line into a fold, turn by turn, keeps what is stored, and collects the events."""

    faults: Faults = field(default_factory=Faults)
    turn_s: float = 0.1

    def __post_init__(self) -> None:
        self.line, self._changes, self._samples = _story()
        self.fold = demo_fold()
        self._tags = devices()
        self._place = {tag.ref: place for tags in self._tags.values() for place, tag in enumerate(tags)}
        self._random = random.Random(self.faults.seed)
        self._stored: dict[str, bytes] = {}
        self._shown: dict[str, tuple[Any, int]] = {}  # the PLC's tags: value and source time (ns since the epoch)
        self._reset_plc(0)
        self.events: list[ProductionEvent] = []

    def play(self) -> list[ProductionEvent]:
        """Return all events of the whole scenario."""
        offline = [*((a, b, "plc1") for a, b in self.faults.cuts), (1000.0, 1020.0, "plc1")]
        step = round(self.turn_s * NS)
        state, _ = self.fold.start({})
        down = dict.fromkeys(self._tags, False)
        fresh = set(self._tags)
        alive, last_seen, before = True, 0, -1
        for now in range(0, self.line.length + step, step):
            self._scan(before, now)
            dead = any(a * NS <= now < b * NS for a, b in self.faults.kills)
            if dead:
                alive, before = False, now
                continue
            inputs: list[Batch | Tick] = []
            if not alive:
                state, dropped = self.fold.start(self._stored)
                assert not dropped
                inputs.append(Batch("", T0 + now, before=(AgentDown(T0 + last_seen, T0 + now),)))
                alive, fresh = True, set(self._tags)
                down = dict.fromkeys(self._tags, False)
            for device in self._tags:
                away = any(a * NS <= now < b * NS and who == device for a, b, who in offline)
                if away and not down[device]:
                    inputs.append(Batch(device, T0 + now, after=(DeviceDown(device, T0 + now, T0 + before, "gone"),)))
                    down[device] = True
                elif not away and (down[device] or device in fresh):
                    inputs.append(self._baseline(device, now))
                    down[device] = False
                    fresh.discard(device)
                elif not away:
                    inputs += self._batches(device, before, now)
            inputs += [Tick(T0 + second * NS) for second in range(before // NS + 1, now // NS + 1) if second]
            turn = self.fold.fold(state, inputs)
            self.events += turn.events
            self._stored.update(turn.changed)
            for effect in turn.effects:
                self._show("rec_ack", effect.value, now + 1)
            state, before, last_seen = turn.state, now, now
        self.events += self.fold.fold(state, [Tick(T0 + self.line.length, final=True)]).events
        return self.events

    # -- the PLC -------------------------------------------------------------------------------------------------

    def _reset_plc(self, t: int) -> None:
        for tag in self._tags["plc1"]:
            name = _NAMES.get(tag.name, tag.name)
            value = ("" if tag.name == "rec_serial" else 0) if tag.name in _RECORD else self.line.value(name, t)
            self._shown[tag.name] = (value, t)
        self._new: list[tuple[int, str, Any]] = []

    def _show(self, tag: str, value: Any, t: int) -> None:
        self._shown[tag] = (value, t)
        self._new.append((t, tag, value))

    def _scan(self, after: int, until: int) -> None:
        """Let the PLC run from ``after`` to ``until``."""
        self._new = [row for row in self._new if row[0] > after]
        back = {"total": "acc_count", "scrap": "reject"}
        for boot in self.line.boots:
            if after < boot <= until and boot:
                self._reset_plc(boot)
        first, last = (bisect_right(self._changes, t, key=lambda change: change.t) for t in (after, until))
        for change in self._changes[first:last]:
            self._show(back.get(change.tag, change.tag), change.value, change.t)
        for sample in self._samples:
            if after < sample.t <= until:
                content = {"rec_serial": sample.serial, "rec_weight": float(sample.weight), "rec_verdict": sample.verdict}
                for tag, value in {**content, "rec_seq": sample.seq, "rec_seq_end": sample.seq}.items():
                    self._show(tag, value, sample.t)

    # -- the links -----------------------------------------------------------------------------------------------

    def _baseline(self, device: str, now: int) -> Batch:
        """Everything is read once after a connect, and every trigger group too."""
        notices: list[Notice] = [DeviceUp(device, T0 + now)]
        received = T0 + now
        if device != "plc1":
            rows = [(tag.name, self._modbus(tag.ref, now), 0) for tag in self._tags[device]]
            return self._batch(device, received, rows, tuple(notices))
        notices.append(Boot(device, T0 + now, int(self._shown["boot_count"][0])))
        rows = [(tag.name, value, T0 + t) for tag in self._tags[device] for value, t in [self._shown[tag.name]]]
        record = [(name, self._shown[name][0], T0 + self._shown[name][1]) for name in _RECORD]
        snapshot = (Snapshot("filler/checkweigher", len(rows), len(rows) + len(record)),)
        return self._batch(device, received, rows + record, tuple(notices), snapshot)

    def _batches(self, device: str, before: int, now: int) -> Iterator[Batch]:
        received = T0 + now
        if device != "plc1":
            if now % (500 * MS) == 0:
                yield self._batch(device, received, [(tag.name, self._modbus(tag.ref, now), 0) for tag in self._tags[device]])
            return
        rows = [(tag, value, T0 + t) for t, tag, value in self._new if before < t <= now]
        record: list[tuple[str, Any, int]] = []
        if any(tag == "rec_seq_end" for tag, _, _ in rows):
            record = [(name, self._shown[name][0], T0 + self._shown[name][1]) for name in _RECORD]
        if rows:
            snapshot = (Snapshot("filler/checkweigher", len(rows), len(rows) + len(record)),) if record else ()
            late = round(self._random.uniform(0, self.faults.delay) * NS)
            yield self._batch(device, received + late, rows + record, (), snapshot)

    def _batch(
        self,
        device: str,
        received: int,
        rows: list[tuple[str, Any, int]],
        before: tuple[Notice, ...] = (),
        parts: tuple[Snapshot, ...] = (),
    ) -> Batch:
        bad = {
            row
            for row, (name, _, source) in enumerate(rows)
            if device == "plc1" and name == "acc_count" and any(a * NS <= source - T0 < b * NS for a, b in self.faults.bad_count)
        }
        return Batch(
            device,
            received,
            [self._place[f"{device}.{name}"] for name, _, _ in rows],
            [None if row in bad else value for row, (_, value, _) in enumerate(rows)],
            [2 if row in bad else 0 for row in range(len(rows))],
            [source for _, _, source in rows],
            [0] * len(rows),
            snapshots=parts,
            before=before,
        )

    def _modbus(self, ref: str, t: int) -> Any:
        if ref == "meter-main.import_energy":
            return self.line.meter_register(t) * 0.01
        if ref == "meter-main.power":
            return float(self.line.power(t))
        pv, setpoint, status = self.line.heater_registers(t)
        bits = {"heater.running": 0, "heater.high": 1, "heater.low": 2, "heater.sensor_break": 15}
        if ref in bits:
            return bool(status >> bits[ref] & 1)
        return {"heater.pv": pv / 10, "heater.sp": setpoint / 10}.get(ref, 0)


@cache
def played(faults: Faults) -> tuple[ProductionEvent, ...]:
    """Return all events of the scenario under ``faults``; played once for all tests."""
    return tuple(Player(faults).play())


def scenario() -> Scenario:
    """Return the shipped scenario, for its truth."""
    return _story()[0].scenario
