"""What can be read and would still count wrong, refused before the first part is lost by it.

Pulses shorter than the polls, reads that are not one read, a tag that may be written and need not be, an hour that comes twice, a bit that a word does not have. Counters without role, wraps or max_rate and those in a float32 are refused by the rules themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.config.bits import bit_findings
from edge_agent.config.source import Path_
from edge_agent.config.words import did_you_mean
from edge_agent.events.catalog import UnitConfig, wiring_of
from edge_agent.events.shift import ShiftConfig
from edge_agent.model.quantity import duration_text
from edge_agent.model.reading import Tag

Finding = tuple[Path_, str, str]
"""Where it stands in its part, the cause, the remedy."""

_FIRST, _DAYS = date(2026, 1, 1), 3 * 366
"""The days that shift boundaries are looked for an hour that comes twice: three of each change of a zone that has them."""

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def unit_findings(unit: UnitConfig, tags: Mapping[str, Tag]) -> Iterator[Finding]:
    """Yield what is wrong in a valid unit; ``tags`` are all tags by ``device.tag``."""
    yield from _pulses(unit, tags)
    yield from bit_findings(unit, tags)
    for name, counter in unit.counters.items():
        if counter.same_read_as is not None:
            yield from _same_read(unit, tags, name, counter.same_read_as)


def _pulses(unit: UnitConfig, tags: Mapping[str, Tag]) -> Iterator[Finding]:
    """A pulse must be seen at least twice, else one of them falls between two looks."""
    for name, record in unit.records.items():
        trigger = tags.get(record.trigger or "")
        if record.min_pulse is None or trigger is None or trigger.period * 2 <= record.min_pulse:
            continue
        yield (
            ("records", name, "min_pulse"),
            f"{trigger.ref} is on for {duration_text(record.min_pulse)} at least, and is looked at every {duration_text(trigger.period)}: pulses are missed",
            f"poll or sample {trigger.ref} every {duration_text(record.min_pulse // 2)} or more often, or have the PLC hold it (trigger_ack)",
        )


def _same_read(unit: UnitConfig, tags: Mapping[str, Tag], name: str, other: str) -> Iterator[Finding]:
    """Counters that are subtracted from each other must come from one read: one that is a part older makes parts that never were."""
    place = ("counters", name, "same_read_as")
    if other == name or other not in unit.counters:
        known = [each for each in unit.counters if each != name]
        yield place, f"same_read_as: '{other}' is no other counter of this unit", did_you_mean(other, known) or "leave it out"
        return
    mine, theirs = tags.get(unit.counters[name].tag), tags.get(unit.counters[other].tag)
    if mine is None or theirs is None:
        return
    if mine.device != theirs.device:
        message = f"same_read_as: {mine.ref} and {theirs.ref} are of two devices, which nobody reads at one instant"
        yield place, message, "compare their totals in the MES at checkpoints, and leave same_read_as out"
    elif mine.snapshot is not None and theirs.snapshot is not None and mine.snapshot != theirs.snapshot:
        message = f"same_read_as: {mine.ref} and {theirs.ref} come from two requests ({mine.snapshot}; {theirs.snapshot})"
        yield place, message, f"write same_read_as: {theirs.name} at the tag {mine.name} of {mine.device}, too"


def writable_findings(units: Sequence[UnitConfig], tags: Sequence[Tag]) -> Iterator[tuple[Tag, str, str]]:
    """Yield every tag that may be written and is no acknowledgement, or is one and more than that."""
    acknowledged = {f"{device}.{name}" for unit in units for device, wired in wiring_of(unit).items() for name in wired.acknowledge}
    read = {ref: unit.unit for unit in units for ref in _values_read(unit)}
    devices = {ref.partition(".")[0] for ref in read} | {ref.partition(".")[0] for ref in acknowledged}
    for tag in tags:
        if not tag.acknowledge or tag.device not in devices:
            continue
        if tag.ref not in acknowledged:
            yield (
                tag,
                f"{tag.ref} may be written, and no record acknowledges with it",
                "remove acknowledge: true, or name the tag as ack of a record",
            )
        elif tag.ref in read:
            message = f"{tag.ref} is written as an acknowledgement and read as a value by unit {read[tag.ref]}: it would read what it wrote itself"
            yield tag, message, "give the acknowledgement a tag of its own"


def _values_read(unit: UnitConfig) -> Iterator[str]:
    """Yield the tags whose values become counts, states, orders and records."""
    yield from (counter.tag for counter in unit.counters.values())
    yield from (meter.tag for meter in unit.energy.values())
    if unit.context is not None:
        yield from (ref for ref in unit.context.model_dump().values() if isinstance(ref, str))
    if unit.state is not None:
        named: dict[str, Any] = unit.state.model_dump()
        yield from (ref for key in ("tag", "mode", "starved", "blocked") if isinstance(ref := named.get(key), str))
    for record in unit.records.values():
        yield from (ref for place, ref in record.references.items() if place != "ack")


def shift_findings(shifts: Mapping[str, ShiftConfig], time_zone: str) -> Iterator[Finding]:
    """Yield every boundary that some day comes twice, at the end of summer time, where the shift does not say which of them is meant."""
    zone = ZoneInfo(time_zone)
    for name, shift in shifts.items():
        if shift.dst is not None:
            continue
        for key, text, later in (("start", shift.start, 0), ("end", shift.end, int(shift.end <= shift.start))):
            day = _twice(zone, time.fromisoformat(text), [_WEEK.index(one) for one in shift.days], later)
            if day is not None:
                yield (
                    ("shifts", name, key),
                    f"{key}: {text} comes twice on {day} in {time_zone}, when summer time ends",
                    "say which is meant, as dst: first or dst: second, or move the boundary out of that hour",
                )
                break


def _twice(zone: ZoneInfo, at: time, weekdays: Sequence[int], later: int) -> date | None:
    """Return the first day on which a local time comes twice; shifts start on ``weekdays``, the time is ``later`` days after that."""
    for number in range(_DAYS):
        start = _FIRST + timedelta(days=number)
        if start.weekday() not in weekdays:
            continue
        local = datetime.combine(start + timedelta(days=later), at, tzinfo=zone)
        first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
        if first is not None and second is not None and first > second:
            return local.date()
    return None
