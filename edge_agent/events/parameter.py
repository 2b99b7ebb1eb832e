"""Parameters of record: a recipe or a set point that is another one than before (ISA-88; PackML Parameter).

``recipe.changed`` also moves the context, so that what follows is stamped with the new recipe. A set point that moves by no more than its
dead band has not changed: the next one is compared with what was told last, so a slow drift is told, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.belonging import named
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Change, Plain, Sight, event_of, heed, look, plain, usable
from edge_agent.model.reading import Reading, Tag


class RecipeConfig(BaseModel):
    """``recipe:`` of a unit: which recipe or program runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag of the recipe's name or number; empty and 0 mean none")
    by: str | None = Field(default=None, description="device.tag of who chose it")


class SetpointConfig(BaseModel):
    """One entry of ``setpoints:``: a parameter whose changes are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag of the parameter")
    by: str | None = Field(default=None, description="device.tag of who set it")
    uom: str | None = Field(default=None, description="UNECE Rec 20 code; left out = the tag's")
    deadband: float = Field(default=0, ge=0, description="a number that moves by no more than this has not changed")


class ParameterMemory(msgspec.Struct, frozen=True):
    """The parameter, and who was seen to be there last."""

    sight: Sight = Sight()
    by: Plain = None


class ParameterRule:
    """Tells ``recipe.changed`` or ``setpoint.changed``: name, old, new, uom, by."""

    ticks = False
    version = 1
    state_type = ParameterMemory

    def __init__(self, name: str, config: SetpointConfig, *, label: str, recipe: bool, uom: str | None) -> None:
        """Watch the tag of ``config``, called ``label`` in the events; a ``recipe`` is part of the context."""
        self.name = name
        self.phase = Phase.CONTEXT if recipe else Phase.RECORD
        self.tags = tuple(ref for ref in (config.tag, config.by) if ref is not None)
        self.fingerprint = config.tag
        self._config, self._label, self._recipe, self._uom = config, label, recipe, uom

    def initial(self) -> ParameterMemory:
        """Nothing seen."""
        return ParameterMemory()

    def step(self, state: ParameterMemory, moment: Moment) -> tuple[ParameterMemory, Outcome]:
        """Fold one moment."""
        sight = heed(state.sight, self._config.tag, moment.notices)
        person = None if self._config.by is None else moment.readings.get(self._config.by)
        by = plain(person.value) if person is not None and usable(person) else state.by
        reading, change = moment.readings.get(self._config.tag), None
        if reading is not None and usable(reading):
            sight, change = look(sight, self._told(sight, reading), reading)
        after = ParameterMemory(sight, by)
        picture = self._picture(sight, moment)
        events = () if change is None else (self._event(change, by, moment),)
        outcome = Outcome(events, picture=picture) if events or picture else NOTHING
        return (state if after == state else after), outcome

    def _told(self, sight: Sight, reading: Reading) -> Plain:
        """Return the sample's value; inside the dead band it is still the one told last."""
        value = named(reading.value) if self._recipe else plain(reading.value)
        old = sight.value
        if isinstance(value, int | float) and isinstance(old, int | float) and abs(value - old) <= self._config.deadband:
            return old
        return value

    def _picture(self, sight: Sight, moment: Moment) -> dict[str, Any] | None:
        context = moment.picture.context
        if not self._recipe or not sight.known or context.recipe == sight.value:
            return None
        return {"context": msgspec.structs.replace(context, recipe=sight.value)}

    def _event(self, change: Change, by: Plain, moment: Moment) -> Any:
        data = {"name": self._label, "old": change.old, "new": change.new, "uom": self._uom, "by": by or None}
        return event_of("recipe.changed" if self._recipe else "setpoint.changed", data, change, moment)


def build_recipe(config: RecipeConfig, *, unit: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of ``recipe:``. Raises ValueError for an unknown tag."""
    check_references([(f"unit {unit}, recipe.tag", config.tag), (f"unit {unit}, recipe.by", config.by)], tags)
    watched = SetpointConfig(tag=config.tag, by=config.by)
    return (ParameterRule("recipe", watched, label="recipe", recipe=True, uom=None),)


def build(config: SetpointConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of the set point ``name``. Raises ValueError for an unknown tag."""
    where = f"unit {unit}, setpoints.{name}"
    check_references([(f"{where}.tag", config.tag), (f"{where}.by", config.by)], tags)
    uom = config.uom or tags[config.tag].uom
    return (ParameterRule(f"setpoints.{name}", config, label=name, recipe=False, uom=uom),)
