"""Speeds: what the machine was set to, what it runs at, and what it was built for (PackML MachSpeed, CurMachSpeed, MachDesignSpeed).

The set point and the design speed are told whenever they change; the actual speed when it has left the dead band around what was told
last, and always when it comes to a stop or leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from math import inf
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Change, Sight, event_of, heed, look, number_of
from edge_agent.model.reading import Tag

_PARTS = ("setpoint", "actual", "design")

_RESERVE = 1.5
"""So much faster than it was built for is still believed of a machine."""

_PER_TIME = re.compile(r"^1?/(s|min|h)$")


class SpeedConfig(BaseModel):
    """``speed:`` of a unit, all three in ``uom``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actual: str | None = Field(default=None, description="device.tag of the speed that it runs at")
    setpoint: str | None = Field(default=None, description="device.tag of the speed that it is set to")
    design: float | str | None = Field(
        default=None,
        description="the speed that it was built for (as a number per time: 1.5 times of it is the max_rate of counters of parts without one), or its device.tag",
    )
    uom: str | None = Field(default=None, description="unit of measure, such as /min; left out = the tag's")
    deadband: float | None = Field(default=None, ge=0, description="how far the actual speed may tremble without being told")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.actual is None and self.setpoint is None and not isinstance(self.design, str):
            raise ValueError("there is no tag to watch; name actual, setpoint or design as device.tag")
        if self.actual is not None and self.deadband is None:
            raise ValueError("an actual speed trembles; say how far it may do so without being told, as deadband: 5")
        return self

    @property
    def references(self) -> dict[str, str]:
        """The tags by the part of the speed that they give."""
        return {part: ref for part in _PARTS if isinstance(ref := getattr(self, part), str)}


def most_parts(speed: object) -> str | None:
    """Return the rate that parts cannot exceed as users write it, from ``speed:`` as written; None where it gives no number of parts per time."""
    design, uom = (speed.get(key) for key in ("design", "uom")) if isinstance(speed, Mapping) else (None, None)
    if isinstance(design, bool) or not isinstance(design, int | float) or not 0 < design < inf or not isinstance(uom, str):
        return None
    per = _PER_TIME.match(uom)
    return None if per is None else f"{Decimal(str(design * _RESERVE)):f}/{per[1]}"


class SpeedMemory(msgspec.Struct, frozen=True):
    """What was told last of each part."""

    sights: Mapping[str, Sight] = msgspec.field(default_factory=dict)


class SpeedRule:
    """Tells ``speed.changed``: setpoint, actual, design, uom."""

    name = "speed"
    phase = Phase.RECORD
    ticks = False
    version = 1
    state_type = SpeedMemory

    def __init__(self, config: SpeedConfig, uom: str | None) -> None:
        """Watch the tags of ``config``."""
        self._config, self._uom = config, uom
        self._refs = config.references
        self.tags = tuple(self._refs.values())
        self.fingerprint = " ".join(f"{part}={ref}" for part, ref in self._refs.items())

    def initial(self) -> SpeedMemory:
        """Nothing seen."""
        return SpeedMemory()

    def step(self, state: SpeedMemory, moment: Moment) -> tuple[SpeedMemory, Outcome]:
        """Fold one moment: one event for everything that changed in it."""
        sights, changes = dict(state.sights), list[Change]()
        for part, ref in self._refs.items():
            sight = heed(sights.get(part, Sight()), ref, moment.notices)
            value = number_of(moment.readings, ref)
            if value is not None:
                sight, change = look(sight, self._told(part, sight, value), moment.readings[ref])
                changes += [] if change is None else [change]
            sights[part] = sight
        after = state if sights == state.sights else SpeedMemory(sights)
        return after, Outcome((self._event(changes, sights, moment),)) if changes else NOTHING

    def _told(self, part: str, sight: Sight, value: float) -> Any:
        """Return the value, or the one told last while an actual speed only trembles around it."""
        old = sight.value
        if part != "actual" or not isinstance(old, int | float) or (value == 0) != (old == 0):
            return value
        return old if abs(value - old) <= (self._config.deadband or 0) else value

    def _event(self, changes: list[Change], sights: Mapping[str, Sight], moment: Moment) -> Any:
        design = None if isinstance(self._config.design, str) else self._config.design
        data = {part: sights[part].value if part in sights else None for part in _PARTS} | {"uom": self._uom}
        if isinstance(actual := number_of(moment.readings, self._config.actual), int | float):
            data["actual"] = actual  # inside the dead band the newest one is better than the one told last
        if design is not None:
            data["design"] = design
        worst = max(changes, key=lambda change: (change.interval is not None, change.reading.quality, change.time))
        return event_of("speed.changed", data, worst, moment)


def build(config: SpeedConfig, *, unit: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of ``speed:``. Raises ValueError for an unknown tag."""
    check_references([(f"unit {unit}, speed.{part}", ref) for part, ref in config.references.items()], tags)
    found = (tags[ref].uom for ref in config.references.values())
    return (SpeedRule(config, config.uom or next((uom for uom in found if uom), None)),)
