"""What a person entered at the machine: a reason, a badge, a scan (``operator.input``).

A value that is entered twice without a pause at empty cannot be told from one that stands: the events say so (``guarantee:
best_effort``). Where that is not enough, the PLC hands entries over one by one: ``records:`` with ``event: operator.input``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.belonging import named
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Plain, Sight, event_of, heed, look, plain, usable
from edge_agent.model.reading import Tag


class InputConfig(BaseModel):
    """One entry of ``inputs:``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag of what was entered; empty and 0 mean nothing")
    kind: str | None = Field(default=None, description="what it is, such as badge, reason, scan; left out = the entry's name")
    user: str | None = Field(default=None, description="device.tag of who entered it")


class InputMemory(msgspec.Struct, frozen=True):
    """The entry as seen last, and the user."""

    sight: Sight = Sight()
    user: Plain = None


class InputRule:
    """Tells ``operator.input``: kind, value, user, guarantee."""

    phase = Phase.RECORD
    ticks = False
    version = 1
    state_type = InputMemory

    def __init__(self, config: InputConfig, name: str) -> None:
        """Watch the tag of ``config``."""
        self.name = f"inputs.{name}"
        self.tags = tuple(ref for ref in (config.tag, config.user) if ref is not None)
        self.fingerprint = config.tag
        self._config, self._kind = config, config.kind or name

    def initial(self) -> InputMemory:
        """Nothing seen."""
        return InputMemory()

    def step(self, state: InputMemory, moment: Moment) -> tuple[InputMemory, Outcome]:
        """Fold one moment."""
        sight, user = heed(state.sight, self._config.tag, moment.notices), state.user
        person = None if self._config.user is None else moment.readings.get(self._config.user)
        if person is not None and usable(person):
            user = named(person.value)
        reading, outcome = moment.readings.get(self._config.tag), NOTHING
        if reading is not None and usable(reading):
            entered = plain(reading.value) if named(reading.value) is not None else None
            sight, change = look(sight, entered, reading)
            if change is not None and change.new is not None:
                data = {"kind": self._kind, "value": change.new, "user": user, "guarantee": "best_effort"}
                outcome = Outcome((event_of("operator.input", data, change, moment),))
        after = InputMemory(sight, user)
        return (state if after == state else after), outcome


def build(config: InputConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``. Raises ValueError for an unknown tag."""
    check_references([(f"unit {unit}, inputs.{name}.tag", config.tag), (f"unit {unit}, inputs.{name}.user", config.user)], tags)
    return (InputRule(config, name),)
