"""Alarms: the difference of two sets, keyed by id and value, never by slot.

PackML's Alarm[] moves up when one clears, so a slot has no identity. After an absence of the device or the agent the sets are compared
only when every tag has been read again, and the events carry the interval; what rose and fell in between is covered by the
gap. A restart of the device ends what was active: when is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, Self

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.alarmset import AlarmMemory, AlarmSet, Sample, Scalar, Standing
from edge_agent.events.codes import UNKNOWN, Code, Meaning, TableFile
from edge_agent.events.condition import ConditionRule, ConditionSettings
from edge_agent.events.reference import check_references, device_of, name_of
from edge_agent.events.restart import restarted
from edge_agent.events.rule import Moment, Outcome, Phase, Rule
from edge_agent.model.condition import CONDITION
from edge_agent.model.quantity import Rate
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, Notice, Quality, Tag, TagStatus


class SlotConfig(BaseModel):
    """One element of PackML's Alarm[]: an alarm stands in it while ``trigger`` is true (or the id is not 0, where there is none)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="device.tag of the alarm number; 0 = empty")
    trigger: str | None = Field(default=None, description="device.tag, true while active")
    value: str | None = Field(default=None, description="device.tag of the value that belongs to the number")
    text: str | None = Field(default=None, description="device.tag of the message")


class AlarmConfig(BaseModel):
    """One entry of ``alarms:``: the slots of an alarm list, words of bits, one bit, or the conditions that a device tells by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    slots: tuple[SlotConfig, ...] = ()
    bit: str | None = Field(default=None, description="device.tag, true while the alarm is active")
    conditions: str | None = Field(
        default=None, description="device.name of an alarm source: what the device itself calls an alarm"
    )
    sources: tuple[str, ...] = Field(default=(), description="only conditions whose source matches one of these: Filler*")
    words: tuple[str, ...] = Field(
        default=(),
        description="device.tag of each word of alarm bits; bits are numbered over all of them, 0 = the lowest of the first",
    )
    width: Literal[8, 16, 32, 64] = Field(default=16, description="bits of one word")
    table: TableFile | None = Field(
        default=None,
        description="CSV file of the alarms: code (number, or bit of the words), id, text, severity, class, language; from the folder of agent.yaml on",
    )
    language: str | None = Field(default=None, description="which language's lines of the table: de, en, ...")
    id: str | None = Field(default=None, description="the alarm's id; the entry's name when it is left out (bit only)")
    severity: int = Field(default=500, ge=1, le=1000, description="1 to 1000, as in OPC UA")
    class_: str = Field(default="general", alias="class", description="mechanical, process, safety, ...")
    text: str | None = Field(default=None, description="words for the alarm; a slot's own message comes first")
    chatter: Rate = Field(default=10 / 60, description="more rises of one alarm than this are told as one that chatters")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if [bool(self.slots), bool(self.words), self.bit is not None, self.conditions is not None].count(True) != 1:
            raise ValueError(
                "an alarm has either slots (a list with id and trigger) or words or a bit or conditions; write one of them"
            )
        if self.table is not None and not (self.slots or self.words):
            raise ValueError("a table tells what numbers mean; leave it out where there are neither slots nor words")
        if self.words and self.id is not None:
            raise ValueError("the ids of words come from the table; leave id out")
        if self.sources and self.conditions is None:
            raise ValueError("sources chooses among conditions; leave it out")
        if self.conditions is not None and (self.id is not None or self.text is not None):
            raise ValueError("conditions have ids and texts of their own; leave id and text out")
        if self.slots and self.id is not None:
            raise ValueError("the ids of slots come from the machine; leave id out")
        return self

    @property
    def references(self) -> tuple[tuple[str, str], ...]:
        """Every tag that is named, with its place in the entry."""
        if self.bit is not None:
            return (("bit", self.bit),)
        if self.conditions is not None:
            return (("conditions", self.conditions),)
        if self.words:
            return tuple((f"words[{i}]", ref) for i, ref in enumerate(self.words))
        parts = ((f"slots[{i}].{part}", getattr(slot, part)) for i, slot in enumerate(self.slots) for part in _PARTS)
        return tuple((place, ref) for place, ref in parts if ref is not None)

    @cached_property
    def meanings(self) -> Mapping[Code, Meaning]:
        """What each number of the table means."""
        return self.table.meanings(self.language) if self.table is not None else {}


_PARTS = ("id", "trigger", "value", "text")


class AlarmRule:
    """Tells ``alarm.raised`` and ``alarm.cleared`` and keeps what is active in the picture."""

    phase = Phase.STATE
    ticks = True
    version = 1
    state_type = AlarmMemory

    def __init__(self, config: AlarmConfig, name: str) -> None:
        """Watch the entry ``name``; all its tags are of one device."""
        self.name = f"alarms.{name}"
        self.tags = tuple(dict.fromkeys(ref for _, ref in config.references))
        self.fingerprint = " ".join(self.tags)
        self._config = config
        self._entry = name
        self._device = device_of(self.tags[0])

    def initial(self) -> AlarmMemory:
        """Nothing read yet: the first full set is the baseline."""
        return AlarmMemory(unread=self.tags)

    def step(self, state: AlarmMemory, moment: Moment) -> tuple[AlarmMemory, Outcome]:
        """Fold one moment."""
        config = self._config
        limit = max(round(config.chatter * 60), 1)
        alarms = AlarmSet(state, moment, severity=config.severity, kind=config.class_, limit=limit)
        for notice in moment.notices:
            self._notice(alarms, notice)
        self._read(alarms, moment)
        if not alarms.memory.unread:
            alarms.compare(self._standing(alarms.memory.values))
        if moment.tick:
            alarms.calm()
        pictured = alarms.pictured()
        picture = {"alarms": pictured} if pictured != moment.picture.alarms else None
        return alarms.memory, Outcome(tuple(alarms.events), picture=picture)

    def _notice(self, alarms: AlarmSet, notice: Notice) -> None:
        memory = alarms.memory
        if isinstance(notice, AgentDown):
            alarms.memory = replace(memory, unread=self.tags, away=notice.since if memory.away is None else memory.away)
        elif isinstance(notice, DeviceDown) and notice.device == self._device:
            since = notice.last_good if memory.away is None else memory.away
            alarms.memory = replace(memory, unread=self.tags, away=since)
        elif isinstance(notice, Boot) and notice.device == self._device:
            mark, restart = restarted(memory.boot, notice)
            if mark != memory.boot:
                alarms.memory = replace(memory, boot=mark)
            if restart:
                alarms.end_all(notice.time)
        elif isinstance(notice, TagStatus) and notice.device == self._device and not notice.ok:
            left = tuple(ref for ref in memory.unread if name_of(ref) != notice.name)
            alarms.memory = memory if left == memory.unread else replace(memory, unread=left)

    def _read(self, alarms: AlarmSet, moment: Moment) -> None:
        """Take samples in; a bad one says nothing, but it was read."""
        memory = alarms.memory
        values, unread = dict(memory.values), memory.unread
        for ref in self.tags:
            reading = moment.readings.get(ref)
            if reading is None:
                continue
            unread = tuple(left for left in unread if left != ref)
            value = reading.value
            if reading.quality is Quality.BAD or not isinstance(value, bool | int | float | str):
                continue
            known = values.get(ref)
            if known is None or known.value != value:
                values[ref] = Sample(value, reading.at.best)
        if values != memory.values or unread != memory.unread:
            alarms.memory = replace(memory, values=values, unread=unread)

    def _standing(self, values: Mapping[str, Sample]) -> Iterator[Standing]:
        """Yield what stands there now; a slot counts from the last of its tags that changed, for the trigger is set last."""
        config = self._config
        if config.bit is not None:
            bit = values.get(config.bit)
            if bit is not None and bit.value:
                yield Standing(config.id or self._entry, None, config.text, bit.time)
        for place, ref in enumerate(config.words):
            word = values.get(ref)
            if word is not None and isinstance(word.value, int | float):
                yield from self._bits(place * config.width, int(word.value), word.time)
        for slot in config.slots:
            number = values.get(slot.id)
            trigger = number if slot.trigger is None else values.get(slot.trigger)
            if number is None or trigger is None or not trigger.value or not number.value:
                continue
            value = values.get(slot.value) if slot.value is not None else None
            text = values.get(slot.text) if slot.text is not None else None
            time = max(sample.time for sample in (number, trigger, value) if sample is not None)
            named = _number(number.value)
            known = config.meanings.get(int(named) if named.lstrip("-").isdecimal() else named, UNKNOWN)
            words = str(text.value) if text is not None and text.value else known.text or config.text
            yield Standing(
                known.id or named, None if value is None else value.value, words, time, known.severity, known.kind, known.more
            )

    def _bits(self, first: int, word: int, time: int) -> Iterator[Standing]:
        """Yield the alarms of one word; a bit that the table does not know is an alarm with its number and no words."""
        for bit in range(self._config.width):
            if word >> bit & 1:
                known = self._config.meanings.get(first + bit, UNKNOWN)
                alarm = known.id or f"{self._entry}.{first + bit}"
                yield Standing(alarm, None, known.text or self._config.text, time, known.severity, known.kind, known.more)


def _number(value: Scalar) -> str:
    """Return an alarm number as text; one that was scaled to a float is the whole number it was."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def build(config: AlarmConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``. Raises ValueError for an unknown tag, or tags of more than one device."""
    check_references([(f"unit {unit}, alarms.{name}.{place}", ref) for place, ref in config.references], tags)
    devices = sorted({device_of(ref) for _, ref in config.references})
    if len(devices) > 1:
        raise ValueError(f"unit {unit}, alarms.{name}: slots of {' and '.join(devices)}; make one entry for each device")
    if config.conditions is None:
        return (AlarmRule(config, name),)
    if tags[config.conditions].type != CONDITION:
        raise ValueError(
            f"unit {unit}, alarms.{name}.conditions: '{config.conditions}' is a variable and no alarm source; name an entry of the device's alarms"
        )
    settings = ConditionSettings(
        config.conditions, config.sources, config.severity, config.class_, max(round(config.chatter * 60), 1)
    )
    return (ConditionRule(settings, name),)
