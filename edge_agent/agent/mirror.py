"""One work unit as a device of an edge node: what it shows now, what of it was told, and what its stream says that was not.

The present comes from the unit's picture, the course of things from its events: a state that lasted a moment is told although the picture has moved
on, and what happened while nobody listened is told later, at its own time, as history.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edge_agent.agent.unit import Unit
from edge_agent.events.rule import CounterFacts
from edge_agent.events.shift import in_units
from edge_agent.model.outside import from_json
from edge_agent.model.stream import Record
from edge_agent.publish.sparkplug import mapping
from edge_agent.publish.sparkplug.feed import Described
from edge_agent.publish.sparkplug.mapping import Shape, Values
from edge_agent.publish.sparkplug.metric import Change, Metric, Quality, Sample, fitting

Seen = dict[str, tuple[Any, Quality]]
"""Metrics as a picture shows them."""

_VERSION = re.compile(r"\.v\d+$")


class UnitMirror:
    """Mirrors ``unit``; ``up`` says of a device whether it answers, ``names`` maps the meters of the picture to those of the events."""

    def __init__(
        self, unit: Unit, shape: Shape, devices: Iterable[str], up: Callable[[str], bool], names: Mapping[str, str], prefix: str
    ) -> None:
        self.unit, self.device = unit, unit.name
        self.alarms: set[str] = set()
        """The alarms that have a metric; one that is new needs a birth."""
        self.shown = False
        """Whether a birth of it was told and no death."""
        self._shape, self._devices, self._up, self._names = shape, frozenset(devices), up, names
        self._prefix = f"{prefix}."
        self._known: dict[str, Sample] = {}
        self._past: dict[str, Any] = {}
        self._metrics: dict[str, Metric] = {}
        self._since = 0

    @property
    def alive(self) -> bool:
        """Whether one of its devices answers."""
        return not self._devices or any(self._up(device) for device in self._devices)

    # -- births ----------------------------------------------------------------------------------------------------

    def born(self, now: int, place: Values) -> Described:
        """Return everything there is, for a birth at ``now``: what happened before is history. ``place`` = where the stream stands."""
        self.alarms |= self._standing()
        self._metrics = mapping.metrics_of(self._shape, self.alarms)
        self._since, self._past, self.shown = now, {}, True
        seen = self._seen() | dict.fromkeys((mapping.alarm(each) for each in self.alarms - self._standing()), (False, Quality.GOOD))
        seen |= {name: (value, Quality.GOOD) for name, value in place.items()}
        for name, metric in self._metrics.items():
            value, quality = seen.get(name) or self._remembered(name)
            self._known[name] = self._sample(metric, value, quality, now)
        return [(metric, self._known[name]) for name, metric in self._metrics.items()]

    def _remembered(self, name: str) -> tuple[Any, Quality]:
        known = self._known.get(name)
        return (None, Quality.GOOD) if known is None else (known.value, known.quality)

    def _sample(self, metric: Metric, value: Any, quality: Quality, now: int) -> Sample:
        """Return a sample; one that is known keeps its time."""
        value, known = fitting(metric.type, value), self._known.get(metric.name)
        if known is not None and (known.value, known.quality) == (value, quality):
            return known
        return Sample(value, now, quality)

    # -- data ------------------------------------------------------------------------------------------------------

    @property
    def outgrown(self) -> bool:
        """Whether it shows something that its birth did not name."""
        return not self.alarms >= self._standing()

    def course(self, records: Sequence[Record]) -> tuple[list[Change], int]:
        """Return what events of the stream changed, oldest first; and how many were used: the next one may need a metric that no birth has named."""
        changes: list[Change] = []
        for used, record in enumerate(records):
            entry = record.entry
            try:
                data = from_json(entry.body, dict[str, Any])
            except ValueError:
                continue  # a damaged row: the event stream declares it
            type_ = _VERSION.sub("", entry.type.removeprefix(self._prefix))
            if type_.startswith("alarm.") and data.get("alarm_id") is not None and str(data["alarm_id"]) not in self.alarms:
                self.alarms.add(str(data["alarm_id"]))
                return changes, used
            quality = Quality.BAD if data.get("q") == "bad" else Quality.GOOD
            values = mapping.moved(type_, data, self._shape) | {"Stream/Epoch": record.key.epoch, "Stream/Seq": record.key.seq}
            for name, value in values.items():
                if (metric := self._metrics.get(name)) is not None:
                    changes += self._changed(metric, Sample(fitting(metric.type, value), entry.time, quality))
        return changes, len(records)

    def _changed(self, metric: Metric, sample: Sample) -> list[Change]:
        """Return the change, if it is one: against the past where it happened before the birth or before what was told last."""
        known = self._known[metric.name]
        if sample.time < max(self._since, known.time):
            if metric.name in self._past and self._past[metric.name] == sample.value:
                return []
            self._past[metric.name] = sample.value
            return [Change(metric, sample, historical=True)]
        if (known.value, known.quality) == (sample.value, sample.quality):
            return []
        self._known[metric.name] = sample
        return [Change(metric, sample, tell_quality=known.quality is not sample.quality)]

    def look(self) -> Seen:
        """Return what the picture shows now, for `present`: taken before the stream is read, it is never ahead of it."""
        return self._seen()

    def present(self, seen: Seen, now: int, place: Values, but: Iterable[str]) -> list[Change]:
        """Return where a picture differs from what was told, leaving out what has just been told by an event: the picture follows it."""
        changes, told = [], set(but)
        for name, (value, quality) in (seen | {name: (value, Quality.GOOD) for name, value in place.items()}).items():
            if name in told or (metric := self._metrics.get(name)) is None:
                continue
            known, sample = self._known[name], self._sample(metric, value, quality, now)
            if sample is not known:
                self._known[name] = sample
                changes.append(Change(metric, sample, tell_quality=known.quality is not sample.quality))
        return changes

    # -- the picture -----------------------------------------------------------------------------------------------

    def _standing(self) -> set[str]:
        return {str(alarm["alarm_id"]) for alarm in self.unit.picture.alarms.values() if alarm.get("alarm_id") is not None}

    def _seen(self) -> Seen:
        """Return what the picture shows, as metrics."""
        picture, context = self.unit.picture, self.unit.picture.context
        state = picture.state
        found: Seen = {}
        if state is not None:
            quality = Quality.STALE if state.category == "unknown" else Quality.GOOD
            found |= {name: (value, quality) for name, value in mapping.state(state.code, state.name, state.category).items()}
        if picture.mode_code is not None:
            found["Status/UnitModeCurrent"] = (picture.mode_code, Quality.GOOD)
        ctx = {"order": context.order, "product": context.product, "lot": context.lot, "shift": context.shift}
        found |= {name: (value, Quality.GOOD) for name, value in mapping.context(ctx).items()}
        for name, facts in picture.counters.items():
            found |= self._register(name, facts)
        standing = self._standing()
        return found | {mapping.alarm(each): (each in standing, Quality.GOOD) for each in self.alarms}

    def _register(self, name: str, facts: CounterFacts) -> Seen:
        meter = self._names.get(name)
        register = self._shape.counters.get(name) if meter is None else self._shape.meters.get(meter)
        if register is None:
            return {}
        stale = bool(register.device) and not self._up(register.device)
        quality = Quality.STALE if stale else Quality.GOOD if facts.good else Quality.BAD
        value = in_units(facts.total, facts.scale)
        if meter is not None:
            return {mapping.energy(meter, register.uom): (value, quality)}
        return {mapping.total(name): (value, quality), mapping.raw(name): (facts.raw, quality)}
