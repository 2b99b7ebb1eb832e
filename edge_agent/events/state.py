"""The machine's state: normalised by a table, Unknown while nobody knows.

What a transition is stands in transition.py, what codes mean in tables.py. The mode, which is part of the same configuration, is in
mode.py; downtimes are in downtime.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.belonging import Modes
from edge_agent.events.codes import Meaning, TableFile
from edge_agent.events.mode import PACKML_MODES, ModeRule
from edge_agent.events.reference import check_references, device_of
from edge_agent.events.rule import Moment, Outcome, Phase, Rule
from edge_agent.events.signals import SignalsConfig, SignalStateRule
from edge_agent.events.tables import Code, StateTable, UserTable, load, of_categories
from edge_agent.events.transition import StateMemory, Transition
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, Notice, Quality, Tag


class ReasonConfig(BaseModel):
    """The tag that latches why the machine stopped (PackML StopReason.ID), and how long after the stop it may latch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str = Field(description="device.tag")
    wait: Duration = Field(default=2 * NS, description="a stop that ended sooner still gets its reason so long after its start")
    texts: dict[Code, str] = Field(default_factory=dict, description="words for codes; they go before those of the table")
    table: TableFile | None = Field(
        default=None, description="CSV file: code,text,language,mes,category; from the folder of agent.yaml on"
    )
    language: str | None = Field(default=None, description="which language's lines of the table: de, en, ...")

    @cached_property
    def meanings(self) -> Mapping[Code, Meaning]:
        """What each code of the table means."""
        return self.table.meanings(self.language) if self.table is not None else {}


class StateConfig(SignalsConfig):
    """``state:`` of a unit: the state's tag, or the signals it is made from, and what belongs to it."""

    model: str | UserTable = Field(default="packml", description="packml, machinery, mtconnect, weihenstephan, tmc, or a table")
    mode: str | None = Field(default=None, description="device.tag of the mode; without one every stop counts as in production")
    modes: dict[int, str] = Field(default_factory=dict, description="names of the machine's own modes")
    production_modes: tuple[int, ...] = Field(default=(1,), description="the modes in which a stop is a downtime")
    starved: str | None = Field(default=None, description="device.tag: nothing comes in")
    blocked: str | None = Field(default=None, description="device.tag: nothing goes out")
    reason: ReasonConfig | None = Field(default=None, description="why the machine stopped")
    micro_stop: Duration = Field(default=10 * NS, description="shorter downtimes are marked micro")
    debounce: Duration = Field(default=0, description="for electrical chatter only; the first edge's time is kept")


class StateRule:
    """Tells ``state.changed`` and keeps the state in the picture."""

    name = "state"
    phase = Phase.STATE
    ticks = True
    version = 1
    state_type = StateMemory

    def __init__(self, config: StateConfig, table: StateTable) -> None:
        """Watch the tags of ``config``; ``table`` says what codes mean."""
        self._source = config.source
        self.tags = tuple(ref for ref in (self._source, config.starved, config.blocked) if ref is not None)
        self.fingerprint = f"{self._source} {table.model}"
        self._config = config
        self._table = table
        self._device = device_of(self._source)

    def initial(self) -> StateMemory:
        """Nothing seen."""
        return StateMemory()

    def step(self, state: StateMemory, moment: Moment) -> tuple[StateMemory, Outcome]:
        """Fold one moment; the first sample is a baseline."""
        transition = Transition(state, moment, self._table, self._config.debounce)
        for notice in moment.notices:
            self._notice(transition, notice)
        transition.flags(
            starved=flag(moment, self._config.starved, known=state.starved),
            blocked=flag(moment, self._config.blocked, known=state.blocked),
        )
        if moment.tick:
            transition.time_passed()
        reading = moment.readings.get(self._source)
        if reading is not None and reading.quality is not Quality.BAD:
            transition.sample(reading)
        transition.refine()
        facts = transition.facts()
        picture = {"state": facts} if facts is not None and facts != moment.picture.state else None
        return transition.memory, Outcome(tuple(transition.events), picture=picture)

    def _notice(self, transition: Transition, notice: Notice) -> None:
        if isinstance(notice, AgentDown):
            transition.agent_was_away(notice.since)
        elif isinstance(notice, DeviceDown) and notice.device == self._device:
            transition.lost(notice)
        elif isinstance(notice, Boot) and notice.device == self._device:
            transition.booted(notice)


def flag(moment: Moment, ref: str | None, *, known: bool) -> bool:
    """Return what the flag ``ref`` says in this moment, else what was ``known``; a bad sample says nothing."""
    reading = moment.readings.get(ref) if ref is not None else None
    if reading is None or reading.quality is Quality.BAD or reading.value is None:
        return known
    return bool(reading.value)


def modes_of(config: StateConfig) -> Modes:
    """Return the modes of a unit: PackML's names, added to and overridden by its own."""
    return Modes({**PACKML_MODES, **config.modes}, frozenset(config.production_modes))


def build(config: StateConfig, *, unit: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the mode rule (where there is a mode) and the state rule. Raises ValueError for an unknown tag or state model."""
    reason = config.reason.tag if config.reason is not None else None
    wanted = {
        "tag": config.tag,
        **_signals(config),
        "mode": config.mode,
        "starved": config.starved,
        "blocked": config.blocked,
        "reason.tag": reason,
    }
    check_references([(f"unit {unit}, state.{place}", ref) for place, ref in wanted.items()], tags)
    rules: list[Rule[Any]] = []
    if config.mode is not None:
        rules.append(ModeRule(config.mode, modes_of(config)))
    states = StateRule(config, table_of(config))
    if config.tag is not None:
        return (*rules, states)
    devices = sorted({device_of(ref) for ref in config.signals})
    if len(devices) > 1:
        raise ValueError(
            f"unit {unit}, state: signals of {' and '.join(devices)}; take those of one device, so that its loss is the state's"
        )
    return (*rules, SignalStateRule(states, config))


def table_of(config: StateConfig) -> StateTable:
    """Return what the codes of a unit's states mean: the model's, or for signals without a model the categories themselves. Raises ValueError."""
    if config.tag is not None or "model" in config.model_fields_set:
        table = load(config.model)
    else:
        table = of_categories("derived" if config.derive is not None else "custom")
    named = [(f"bits.{place}.is", bit.is_) for place, bit in enumerate(config.bits)]
    for where, code in (*named, *([("else", config.nothing)] if config.tag is None else [])):
        if table.state(code).category == "unknown" and code not in table.codes:
            raise ValueError(
                f"state.{where}: '{code}' is no state of {table.model}; write one of {', '.join(map(str, table.codes))}"
            )
    return table


def _signals(config: StateConfig) -> dict[str, str]:
    return {} if config.tag is not None else {f"signals[{i}]": ref for i, ref in enumerate(config.signals)}
