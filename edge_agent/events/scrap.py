"""Scrap whose reason is known: why parts were rejected (``scrap.recorded``; ISO 22400 SQ, RQ).

It breaks down what a scrap counter counts and is never added to it: `production.count` alone moves quantities. The quantity is what a
counter of the unit counted, or a register of its own (many machines have one per reason). Without a reason there is no event. A code
that no table knows is told as it is, without a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.belonging import named
from edge_agent.events.counter import CounterRule, CounterState
from edge_agent.events.follow import Neighbours, RegisterConfig, counted, follow, retold
from edge_agent.events.material import counter_tag
from edge_agent.events.reason import Words, meanings, reason_of
from edge_agent.events.reference import check_references
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import usable
from edge_agent.events.tables import Code, code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Quality, Reading, Tag


class ScrapReason(BaseModel):
    """Where the reason comes from: always the same ``code``, or a ``tag``; ``table`` says what codes mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code | None = Field(default=None, description="the reason, where it is always the same")
    tag: str | None = Field(default=None, description="device.tag of the reason's code; 0 and empty mean none")
    text: str | None = Field(default=None, description="what the one code means")
    table: Words = Field(default_factory=dict, description="what the codes mean: inline, or a CSV file")
    language: str | None = Field(default=None, description="which language's lines of the file: de, en, ...")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.code is None) == (self.tag is None):
            raise ValueError("a reason is either always the same, as code: 12, or read, as tag: device.tag")
        return self


class ScrapConfig(BaseModel):
    """One entry of ``scrap:``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str | None = Field(default=None, description="the counter of this unit whose counts have this reason")
    count: RegisterConfig | None = Field(default=None, description="a register of its own that counts rejects of this reason")
    reason: ScrapReason
    station: str | None = Field(default=None, description="where it is rejected")
    uom: str = Field(default="H87", description="unit of a register of its own, UNECE Rec 20 (H87 = piece)")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.counter is None) == (self.count is None):
            raise ValueError("the quantity comes either from a counter of the unit, as counter: reject, or from count: {tag: ...}")
        return self


class ScrapMemory(msgspec.Struct, frozen=True):
    """The reason that its last sample gave (None: it was bad, or there was none), and where the register stands."""

    code: Code | None = None
    register: CounterState = CounterState()


class ScrapRule:
    """Tells ``scrap.recorded``: qty, uom, reason{code,text,source}, station, serial."""

    phase = Phase.COUNT
    version = 1
    state_type = ScrapMemory

    def __init__(self, config: ScrapConfig, name: str, register: CounterRule | None, parts: tuple[str, ...]) -> None:
        """Follow ``register``, or hear the counts of ``config.counter``, whose tags are ``parts``."""
        self.name = f"scrap.{name}"
        followed = register.tags if register is not None else ()
        reason = () if config.reason.tag is None else (config.reason.tag,)
        self.tags = tuple(dict.fromkeys((*reason, *followed, *parts)))
        self.ticks = register is not None
        self.fingerprint = f"reason={config.reason.tag} {'' if register is None else register.fingerprint}"
        self._config, self._register = config, register
        self._meanings = meanings(config.reason.table, config.reason.language)

    def initial(self) -> ScrapMemory:
        """Nothing seen."""
        return ScrapMemory()

    def step(self, state: ScrapMemory, moment: Moment) -> tuple[ScrapMemory, Outcome]:
        """Fold one moment: the reason that is read with a count is the count's."""
        ref = self._config.reason.tag
        memory = state
        if ref is not None and (reading := moment.readings.get(ref)) is not None:
            memory = msgspec.structs.replace(state, code=_code(reading))
        register, told = memory.register, list[ProductionEvent]()
        if self._register is not None:
            register, counts, told = counted(self._register, register, moment)
            memory = msgspec.structs.replace(memory, register=register)
        else:
            wanted = self._config.counter
            counts = [one for one in moment.events if one.type == "production.count" and one.data["counter"] == wanted]
        reason = self._reason(memory)
        if reason is not None:
            told += [self._scrapped(count, reason) for count in counts]
        return (state if memory == state else memory), Outcome(tuple(told)) if told else NOTHING

    def _reason(self, memory: ScrapMemory) -> dict[str, Any] | None:
        reason = self._config.reason
        if reason.tag is None:
            told = reason_of(reason.code, self._meanings, "config")
            return told if reason.text is None else told | {"text": reason.text}
        if memory.code is None:
            return None
        return reason_of(memory.code, self._meanings, reason.tag)

    def _scrapped(self, count: ProductionEvent, reason: dict[str, Any]) -> ProductionEvent:
        """Return the scrap of a count. One reason for several parts, or for parts behind a loss, is a guess: uncertain."""
        several = self._config.reason.tag is not None and (count.data["delta"] != 1 or count.derivation == "recovered")
        data = {
            "qty": count.data["delta"],
            "uom": count.data["uom"],
            "reason": reason,
            "station": self._config.station,
            "serial": None,
        }
        quality = Quality.UNCERTAIN if several else count.quality
        return retold(count, "scrap.recorded", data, quality=quality)


def _code(reading: Reading) -> Code | None:
    return code_of(reading.value) if usable(reading) and named(reading.value) is not None else None


def build(
    config: ScrapConfig,
    *,
    unit: str,
    name: str,
    tags: Mapping[str, Tag],
    near: Neighbours,
) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``; ``near`` knows the unit's counters.

    Raises ValueError for an unknown tag or counter.
    """
    where = f"unit {unit}, scrap.{name}"
    check_references([(f"{where}.reason.tag", config.reason.tag)], tags)
    if config.count is None:
        return (ScrapRule(config, name, None, (counter_tag(config.counter or "", near.counters, f"{where}.counter"),)),)
    register = follow(
        config.count, unit=unit, name=f"scrap.{name}", role="scrap", uom=config.uom,
        tags=tags, near=near,
    )  # fmt: skip
    return (ScrapRule(config, name, register, ()),)
