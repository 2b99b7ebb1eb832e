"""Mapping tests as line engineers write them: given readings at these times, expect these events. YAML beside the configuration.

Everything wrong in a file is told at its line. What a line of ``given`` means stands in docs/how-to/test-a-mapping.md; here it becomes data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from edge_agent.config.load import read_as, refuse
from edge_agent.config.source import Path_, Source
from edge_agent.config.words import did_you_mean
from edge_agent.events.catalog import topics_of
from edge_agent.model.condition import CONDITION
from edge_agent.model.instant import parse
from edge_agent.model.quantity import Duration, duration
from edge_agent.model.reading import Quality, Tag
from edge_agent.replay.line import Line
from edge_agent.replay.plant import Sample

START = "2026-01-05T06:00:00Z"
"""When a test begins that does not say so: a Monday."""

_QUALITIES = {"good": Quality.GOOD, "uncertain": Quality.UNCERTAIN, "bad": Quality.BAD}


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed)]
"""One name or several."""


class GivenLine(BaseModel):
    """One instant: what the plant does then. Every other key is a tag (``device.tag``) with its new value."""

    model_config = ConfigDict(frozen=True, extra="allow")

    at: Duration = Field(description="when, counted from the start of the test")
    sampled: Duration | None = Field(default=None, description="an older time that the device stamps its samples with")
    down: Names = Field(default_factory=list, description="devices that no longer answer")
    up: Names = Field(default_factory=list, description="devices that answer again: everything is read")
    boot: dict[str, int] = Field(default_factory=dict, description="the boot counter of devices that restarted")
    agent: Literal["killed", "stopped", "started"] | None = Field(default=None, description="what happens to the agent itself")
    history: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="what a device kept while it was down, by tag: {6s: 104, 9s: 107}; it is up again with it"
    )


class ExpectedEvent(BaseModel):
    """An event that must come; every other key is a member of it, ``to.category`` one inside another."""

    model_config = ConfigDict(frozen=True, extra="allow")

    event: str = Field(min_length=1, description="its type without prefix and version: production.count; or acknowledge")
    at: Duration | None = Field(default=None, description="its time, counted from the start of the test")


class MappingTest(BaseModel):
    """One test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: str = Field(min_length=1, description="what must be so, as a sentence")
    unit: str | None = Field(default=None, description="the work unit; left out where there is one only")
    start: str | None = Field(default=None, description="when it begins: local time of the plant, or with a Z or an offset")
    plant: dict[str, Any] = Field(default_factory=dict, description="what tags show at the start, over the file's own `plant`")
    given: list[GivenLine] = Field(min_length=1)
    expect: list[ExpectedEvent] = Field(
        default_factory=list, description="events that must come in this order; others may come between"
    )
    only: bool | list[str] = Field(default=False, description="types of which no other event may come; true: no other event at all")
    none: list[str | ExpectedEvent] = Field(default_factory=list, description="types or events that must not come")


class MappingFile(BaseModel):
    """A file of mapping tests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    start: str | None = Field(default=None, description="when tests begin that do not say so themselves")
    plant: dict[str, Any] = Field(
        default_factory=dict, description="what tags show at the start of every test; others show 0 or nothing"
    )
    tests: list[MappingTest] = Field(min_length=1)


ADAPTER: TypeAdapter[MappingFile] = TypeAdapter(MappingFile)


class Happening(msgspec.Struct, frozen=True):
    """A line of ``given`` as data: ``samples`` by device and name, ``history`` by device; instants in ns after the start."""

    at: int
    line: GivenLine
    samples: Mapping[str, Mapping[str, Sample]]
    history: Mapping[str, list[tuple[int, str, Sample]]]


class Script(msgspec.Struct, frozen=True):
    """One test, checked: ``start`` in UTC ns, and the file's lines of the test itself, its expectations and its ``none``."""

    test: MappingTest
    unit: str
    start: int
    plant: Mapping[str, dict[str, Sample]]
    given: list[Happening]
    file: Path
    line: int
    expect_lines: list[int]
    none_lines: list[int]


def scripts(file: Path, line: Line, time_zone: str) -> list[Script]:
    """Return the tests of a file. Raises InvalidConfigError with everything that is wrong in it."""
    content, source = read_as(ADAPTER, file)
    found = [_script(content, number, source, line, time_zone) for number in range(len(content.tests))]
    refuse(source)
    return found


def _script(content: MappingFile, number: int, source: Source, line: Line, time_zone: str) -> Script:
    test, path = content.tests[number], ("tests", number)
    units = [unit.unit for unit in line.units]
    unit = test.unit or (units[0] if len(units) == 1 else "")
    if unit not in units:
        message = f"there is no unit '{unit}'" if unit else "the test does not say which unit it is about"
        source.problem(source.place((*path, "unit")), message, did_you_mean(unit, units))
    tags = {tag.ref: tag for tags in line.devices.values() for tag in tags}
    for each in line.units:
        if each.unit == unit:  # an MES names the context over MQTT: written as if it were a device called mes
            tags |= {f"mes.{tag.name}": tag for tag in topics_of(each).tags if f"mes.{tag.name}" not in tags}
    reader = _Reader(source, tags, set(line.devices))
    plant = reader.samples(content.plant, ("plant",))
    for device, samples in reader.samples(test.plant, (*path, "plant")).items():
        plant[device] = plant.get(device, {}) | samples
    given = [reader.happening(one, (*path, "given", place)) for place, one in enumerate(test.given)]
    for place in range(1, len(given)):
        if given[place].at < given[place - 1].at:
            where = (*path, "given", place, "at")
            source.problem(source.place(where), "time goes back here", "write the lines in the order of their times")
    begins: Path_ = (*path, "start") if test.start is not None else ("start",)
    start = _instant(test.start or content.start or START, source, begins, time_zone)
    lines = [source.place((*path, "expect", place))[0] for place in range(len(test.expect))]
    none = [source.place((*path, "none", place))[0] for place in range(len(test.none))]
    return Script(test, unit, start, plant, given, source.file, source.place((*path, "test"))[0], lines, none)


def _instant(text: str, source: Source, path: Path_, time_zone: str) -> int:
    """Return an instant; a time without an offset is the plant's, the first of two that are called the same."""
    try:
        moment = datetime.fromisoformat(text)
        return parse((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(time_zone))).isoformat())
    except ValueError:
        remedy = 'write it as "2026-10-25 05:59:30" (local time) or "2026-10-25T04:59:30Z"'
        source.problem(source.place(path), f"'{text}' is no instant", remedy)
        return parse(START)


class _Reader:
    """Checks the lines of one test against the tags that there are."""

    def __init__(self, source: Source, tags: Mapping[str, Tag], devices: set[str]) -> None:
        self._source, self._tags, self._devices = source, tags, devices

    def happening(self, line: GivenLine, path: Path_) -> Happening:
        for key in ("down", "up", "boot"):
            for device in getattr(line, key):
                self._device(device, (*path, key))
        samples = self.samples(line.model_extra or {}, path)
        history: dict[str, list[tuple[int, str, Sample]]] = {}
        for ref, rows in line.history.items():
            for at, value in rows.items():
                where = (*path, "history", ref, at)
                for tag, sample in self._sample(ref, value, where):
                    history.setdefault(tag.device, []).append((self._time(at, where), tag.name, sample))
        return Happening(line.at, line, samples, {device: sorted(rows, key=_first) for device, rows in history.items()})

    def samples(self, values: Mapping[str, Any], path: Path_) -> dict[str, dict[str, Sample]]:
        """Return the samples of a table of tags, by device."""
        samples: dict[str, dict[str, Sample]] = {}
        for ref, value in values.items():
            for tag, sample in self._sample(ref, value, (*path, ref)):
                samples.setdefault(tag.device, {})[tag.name] = sample
        return samples

    def _time(self, text: str, path: Path_) -> int:
        try:
            return duration(text)
        except ValueError as error:
            cause, _, remedy = str(error).partition("; ")
            self._source.problem(self._source.place(path), cause, remedy)
            return 0

    def _device(self, name: str, path: Path_) -> None:
        if name not in self._devices:
            self._source.problem(self._source.place(path), f"there is no device '{name}'", did_you_mean(name, self._devices))

    def _sample(self, ref: str, value: Any, path: Path_) -> Iterator[tuple[Tag, Sample]]:
        tag = self._tags.get(ref)
        place = self._source.keys.get(path, self._source.place(path))
        if tag is None and "." not in ref:
            known = [*GivenLine.model_fields, *self._tags]
            self._source.problem(place, f"'{ref}' is neither a tag nor something that can happen", did_you_mean(ref, known))
        elif tag is None:
            self._source.problem(place, f"no device has a tag '{ref}'", did_you_mean(ref, self._tags))
        else:
            yield from self._typed(tag, value, path)

    def _typed(self, tag: Tag, value: Any, path: Path_) -> Iterator[tuple[Tag, Sample]]:
        content = value if isinstance(value, dict) else {"quality": "bad"} if value == "bad" else {"value": value}
        unknown = content.keys() - {"value", "quality", "detail"}
        quality = _QUALITIES.get(str(content.get("quality", "good")))
        plain = content.get("value")
        why = f"'{min(map(str, unknown))}' says nothing about a sample" if unknown else _misfit(tag, plain)
        if quality is None:
            why = f"'{content['quality']}' is no quality"
        if plain is None and quality is not Quality.BAD:
            why = why or f"{tag.ref} has no value"
        if why:
            remedy = "write its value, or bad, or {value: 5, quality: uncertain, detail: why}"
            self._source.problem(self._source.place(path), why, remedy)
        elif quality is not None:
            yield tag, Sample(plain, quality, content.get("detail"))


def _first(row: tuple[int, str, Sample]) -> int:
    return row[0]


def _misfit(tag: Tag, value: Any) -> str:
    """Return why a value cannot be one of a tag, nothing when it can."""
    if value is None:
        return ""
    if tag.type == CONDITION:
        return f"{tag.ref} is an alarm source, which a mapping test cannot play; record it from the line instead"
    kinds: tuple[type, ...] = (bool, int, float, str)
    word = "a value"
    if tag.type == "bool":
        kinds, word = (bool,), "true or false"
    elif tag.type == "string":
        kinds, word = (str,), "text"
    elif tag.type is not None:
        whole = tag.type.startswith(("int", "uint")) and tag.scale == int(tag.scale) and tag.offset == int(tag.offset)
        kinds, word = ((int,), "a whole number") if whole else ((int, float), "a number")
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    return "" if fits else f"{tag.ref} is {tag.type or 'a scalar'}, and {value!r} is not {word}"
