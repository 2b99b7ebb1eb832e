"""States of machines that tell none: from bits by priority, from a count that moves, from a threshold.

What the signals say becomes a sample of a state tag that does not exist, and the state rule does the rest: baseline, debounce, Unknown behind a lost link,
one change with its interval behind an absence. So a state from signals is as honest as one that the machine tells itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.rule import Moment, Outcome, Phase, Rule
from edge_agent.events.tables import Code
from edge_agent.events.transition import StateMemory
from edge_agent.events.when import Condition, tags_in
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, Quality, Reading, Timestamps


class BitConfig(BaseModel):
    """One line of ``bits``: while ``when`` holds and no line before it does, the machine ``is`` in this state."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    when: Condition
    is_: Code = Field(alias="is", description="a category (running, faulted, ...), or a code or name of `model`")


class DeriveConfig(BaseModel):
    """Running, derived from what there is: ``counts`` that move, or a condition such as a motor's current above a threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: str | None = Field(default=None, description="device.tag of a counter: the machine runs while it moves")
    within: Duration = Field(
        default=30 * NS, description="a counter that stood still for so long means that the machine stopped with its last part"
    )
    when: Condition | None = Field(default=None, description="the machine runs while this holds: {tag: meter.current, above: 2.5}")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.counts is None) == (self.when is None):
            raise ValueError("running is derived either from counts or from when; write one of them")
        return self


class Signal(msgspec.Struct, frozen=True):
    """A tag's last usable value, its quality, and the times of the sample with which it changed."""

    value: bool | int | float | str
    quality: int
    at: Timestamps


class SignalMemory(msgspec.Struct, frozen=True):
    """The state rule's own memory, and the signals since the last loss."""

    state: StateMemory = StateMemory()
    seen: Mapping[str, Signal] = msgspec.field(default_factory=dict)


class SignalStateRule:
    """The state rule ``inner`` over signals instead of a state tag. ``inner`` watches the tag called ``source``, which no device has."""

    name = "state"
    phase = Phase.STATE
    ticks = True
    version = 1
    state_type = SignalMemory

    def __init__(self, inner: Rule[StateMemory], config: SignalsConfig) -> None:
        """Ask the bits of ``config`` in their order, or derive, as it says."""
        self._inner, self._source, self._otherwise = inner, config.source, config.nothing
        self._bits, self._signals, derive = config.bits, config.signals, config.derive
        self._counts = derive.counts if derive is not None else None
        self._within = derive.within if derive is not None else 0
        if derive is not None and derive.when is not None:
            self._bits = (BitConfig.model_validate({"when": derive.when, "is": "running"}),)
        source = self._source
        self.tags = (*self._signals, *(ref for ref in inner.tags if ref != source))
        self.fingerprint = f"signals {' '.join(self._signals)} {inner.fingerprint}"

    def initial(self) -> SignalMemory:
        """Nothing seen."""
        return SignalMemory()

    def step(self, state: SignalMemory, moment: Moment) -> tuple[SignalMemory, Outcome]:
        """Fold one moment: what the signals say in it goes to the state rule as a sample."""
        before = {} if self._lost(moment) else state.seen
        seen = dict(before)
        news = [reading for ref in self._signals if (reading := moment.readings.get(ref)) is not None and _usable(reading)]
        for reading in news:
            known, value = seen.get(reading.tag), reading.value
            assert isinstance(value, bool | int | float | str)  # noqa: S101 - `_usable` has asked
            at = reading.at if known is None or known.value != value else known.at
            seen[reading.tag] = Signal(value, int(reading.quality), at)
        sample = self._counted(before, seen, news, moment) if self._counts else self._matched(seen, news)
        inner = moment if sample is None else replace(moment, readings={**moment.readings, self._source: sample})
        memory, outcome = self._inner.step(state.state, inner)
        if memory is state.state and seen == state.seen:
            return state, outcome
        return SignalMemory(memory, seen), outcome

    def _lost(self, moment: Moment) -> bool:
        """Whether this moment tells of a loss: then what the signals said before it says nothing of now."""
        device = self._source.partition(".")[0]
        return any(
            isinstance(notice, AgentDown) or (isinstance(notice, DeviceDown | Boot) and notice.device == device)
            for notice in moment.notices
        )

    def _matched(self, seen: Mapping[str, Signal], news: list[Reading]) -> Reading | None:
        """Return the first line that holds; nothing while a signal is unknown that comes before it."""
        if not news:
            return None
        newest = max(news, key=lambda reading: reading.at.best)
        quality = Quality.GOOD
        for bit in self._bits:
            signal = seen.get(bit.when.tag)
            answer = None if signal is None else bit.when.holds(signal.value)
            if signal is None or answer is None:
                return None
            quality = max(quality, Quality(signal.quality))
            if answer:
                return Reading(self._source, bit.is_, quality, newest.at)
        return Reading(self._source, self._otherwise, quality, newest.at)

    def _counted(
        self, before: Mapping[str, Signal], seen: Mapping[str, Signal], news: list[Reading], moment: Moment
    ) -> Reading | None:
        """Return running when the count moved, the other state when it stood too long: the machine stopped with its last part."""
        counter = str(self._counts)
        known, signal = before.get(counter), seen.get(counter)
        if signal is None:
            return None
        if known is not None and known.value != signal.value:
            return Reading(self._source, "running", Quality(signal.quality), signal.at)
        now = news[-1].at.agent if news else moment.time if moment.tick else None
        if now is None or now - signal.at.agent < self._within:
            return None
        return Reading(self._source, self._otherwise, Quality(signal.quality), signal.at)


def _usable(reading: Reading) -> bool:
    return reading.quality is not Quality.BAD and isinstance(reading.value, bool | int | float | str)


class SignalsConfig(BaseModel):
    """The part of ``state:`` that stands where there is no state tag."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tag: str | None = Field(default=None, description="device.tag of the state code or name; where there is none: bits or derive")
    bits: tuple[BitConfig, ...] = Field(
        default=(), description="states by priority, the first that holds: [{when: plc1.fault, is: faulted}, ...]"
    )
    otherwise: Code | None = Field(
        default=None, alias="else", description="the state when no bit holds, or when the machine does not run"
    )
    derive: DeriveConfig | None = Field(default=None, description="running, from a count that moves or a threshold")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.tag is not None, bool(self.bits), self.derive is not None].count(True) != 1:
            raise ValueError("a state has a tag, or bits, or derive; write one of them")
        if self.otherwise is not None and self.tag is not None:
            raise ValueError("else belongs to bits and derive; leave it out")
        if self.bits and self.otherwise is None:
            raise ValueError("bits need to know what the machine is when none of them holds; add else: idle")
        return self

    @property
    def signals(self) -> tuple[str, ...]:
        """Every tag that the state is made from."""
        if self.tag is not None:
            return (self.tag,)
        if self.derive is not None and self.derive.counts is not None:
            return (self.derive.counts,)
        if self.derive is not None and self.derive.when is not None:
            return (self.derive.when.tag,)
        return tags_in(bit.when for bit in self.bits)

    @property
    def nothing(self) -> Code:
        """The state when no bit holds, or when the machine does not run."""
        return "stopped" if self.otherwise is None else self.otherwise

    @property
    def source(self) -> str:
        """The tag of the state, or the name of the one that stands for its signals: beside them, and no tag of any device."""
        return self.tag if self.tag is not None else f"{self.signals[0].partition('.')[0]}.(state)"
