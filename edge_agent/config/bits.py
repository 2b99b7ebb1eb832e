"""Bits that nobody will ever see: numbers beyond the word that a tag is, and bits of what is no word. Refused, for such a bit is off for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from edge_agent.config.source import Path_
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.when import When
from edge_agent.model.reading import Tag

WIDTHS = {f"{sign}int{width}": width for sign in ("", "u") for width in (8, 16, 24, 32, 48, 64)}
"""Bits by declared type; a type that does not stand here says nothing of its bits."""


def bit_findings(unit: UnitConfig, tags: Mapping[str, Tag]) -> Iterator[tuple[Path_, str, str]]:
    """Yield where a bit stands that its tag does not have, the cause, the remedy; ``tags`` are all tags by ``device.tag``."""
    words = {("alarms", name, "words", place) for name, alarm in unit.alarms.items() for place in range(len(alarm.words))}
    for path, ref, bit in bits_asked(unit):
        tag = tags.get(ref)
        if tag is None or tag.type is None:
            continue
        yield from ((path, *found) for found in (_of_word(tag, bit + 1) if path in words else _of_condition(tag, bit)))


def bits_asked(unit: UnitConfig) -> Iterator[tuple[Path_, str, int]]:
    """Yield every place where bits of a tag are asked for, the tag, and the highest of them."""
    yield from _conditions(unit, ())
    for name, alarm in unit.alarms.items():
        for place, ref in enumerate(alarm.words):
            yield ("alarms", name, "words", place), ref, alarm.width - 1


def _conditions(config: object, path: Path_) -> Iterator[tuple[Path_, str, int]]:
    """Yield the bits of the conditions anywhere below ``config``, wherever one may be written in time to come."""
    if isinstance(config, When):
        if config.bit is not None:
            yield (*path, "bit"), config.tag, config.bit
    elif isinstance(config, BaseModel):
        for name, field in type(config).model_fields.items():
            yield from _conditions(getattr(config, name), (*path, field.alias or name))
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from _conditions(value, (*path, key))
    elif isinstance(config, tuple | list):
        for place, value in enumerate(config):
            yield from _conditions(value, (*path, place))


def _of_condition(tag: Tag, bit: int) -> Iterator[tuple[str, str]]:
    width = WIDTHS.get(tag.type or "")
    if tag.type == "bool":
        yield f"bit: {tag.ref} is a bool, one bit by itself", "leave bit out"
    elif (tag.type or "").startswith("float"):
        yield f"bit: {tag.ref} is a {tag.type}, which has no bits to look at", "ask above or below, or name the tag of the word"
    elif width is not None and bit >= width:
        message = f"bit: {bit} is beyond {tag.ref}, which is {tag.type} and has the bits 0 to {width - 1}"
        yield message, "count from 0, the lowest bit, or name the tag of the word that has it"


def _of_word(tag: Tag, wanted: int) -> Iterator[tuple[str, str]]:
    width = WIDTHS.get(tag.type or "")
    if tag.type == "bool":
        yield f"words: {tag.ref} is a bool, one bit by itself", f"write it as an alarm of its own, with bit: {tag.ref}"
    elif (tag.type or "").startswith("float"):
        yield f"words: {tag.ref} is a {tag.type}, which has no bits to look at", "name the tag of the word of alarm bits"
    elif width is not None and wanted > width:
        message = f"words: {tag.ref} is {tag.type} and has {width} bits, not {wanted} as width says"
        yield message, f"write width: {width}" if width in {8, 16, 32, 64} else f"name tags of {wanted} bits"
