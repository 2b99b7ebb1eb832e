"""What only shows when all files are known: names given twice, tags that nobody has, codes that are no codes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.config import lint
from edge_agent.config.schema import AgentFile
from edge_agent.config.source import Path_, Source
from edge_agent.config.words import did_you_mean
from edge_agent.drivers.catalog import clashes, overloads, tags_of
from edge_agent.events.catalog import inputs, rules_of
from edge_agent.events.shift import Calendar
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag

_DEVICE_LINE = re.compile(r"^device:[ \t]*['\"]?([^\s'\"#]+)", re.MULTILINE)
_SLOT = "{slot}"


@dataclass
class Part:
    """One validated thing and where it came from."""

    config: Any
    source: Source
    path: Path_


def cross_check(sources: Sequence[Source], agent: AgentFile | None, devices: Sequence[Part], units: Sequence[Part]) -> None:
    """Note what does not fit together in ``sources``, the main file first; ``devices`` and ``units`` are the valid ones among them."""
    main = sources[0]
    _unique(devices, "device")
    _unique(units, "unit")
    _share(devices)
    tags = {tag.ref: tag for part in devices for tag in tags_of(part.config)}
    calendar = _calendar(main, agent)
    _lint(main, agent, devices, units, tags)
    told = {name for source in sources[1:] if source.faults and source.file.parent.name == "devices" for name in _named(source)}
    invalid_devices = bool(main.faults or told) or any(part.source.faults for part in devices)
    for part in units:
        _references(part, tags, [device.config.device for device in devices], told, quiet=bool(main.faults))
        if not part.source.problems:
            check_codes(part, tags)
        if not part.source.problems and not invalid_devices:
            _rules(part, tags, calendar)


def _lint(main: Source, agent: AgentFile | None, devices: Sequence[Part], units: Sequence[Part], tags: Mapping[str, Tag]) -> None:
    """Note what can be read and would still count wrong."""
    if agent is not None:
        for path, message, remedy in lint.shift_findings(agent.shifts, agent.time_zone):
            main.problem(main.place(path), message, remedy)
    for part in units:
        for path, message, remedy in lint.unit_findings(part.config, tags):
            part.source.problem(part.source.place((*part.path, *path)), message, remedy)
    by_device = {part.config.device: part for part in devices}
    for tag, message, remedy in lint.writable_findings([part.config for part in units], list(tags.values())):
        part = by_device[tag.device]
        part.source.problem(part.source.place((*part.path, "tags", tag.name, "acknowledge")), message, remedy)


def _named(source: Source) -> set[str]:
    """Return what the device of a file with problems may be called: what the file says, as far as it can be read, and as the file is called."""
    if isinstance(source.data, dict):
        return {source.file.stem, str(source.data.get("device", ""))}
    line = _DEVICE_LINE.search(source.text)
    return {line[1], source.file.stem} if line else {source.file.stem}


def _unique(parts: Sequence[Part], key: str) -> None:
    seen: dict[str, Part] = {}
    for part in parts:
        name = getattr(part.config, key)
        if name in seen:
            other = seen[name].source
            part.source.problem(
                part.source.place((*part.path, key)), f"{key} '{name}' exists already, in {other.file}", "give it another name"
            )
        seen[name] = part


def _share(devices: Sequence[Part]) -> None:
    """Note every device that disagrees with another one about the way to both, and every way that has not the time for its polls."""
    configs = [part.config for part in devices]
    for key, told in (("device", clashes(configs)), ("poll", overloads(configs))):
        for number, text in told:
            part, (message, _, remedy) = devices[number], text.partition("; ")
            part.source.problem(part.source.place((*part.path, key)), message, remedy)


def _references(part: Part, tags: Mapping[str, Tag], devices: Sequence[str], told: set[str], *, quiet: bool) -> None:
    """Note every ``device.tag`` of a unit that does not exist, at the place where it is written; those of one ring's slots are one."""
    asked = inputs(part.config)
    missing: dict[tuple[tuple[int, int], str, str], list[str]] = {}
    for ref in sorted(asked - tags.keys(), key=_by_number):
        device = ref.partition(".")[0]
        if device in told or (quiet and device not in devices):
            continue  # its device file is wrong itself and said so
        missing.setdefault((*_written(part, ref), device), []).append(ref)
    for (place, written, _), refs in missing.items():
        whole = sum(_stands_for(written, ref) for ref in asked)
        part.source.problem(place, *_unknown(written, refs, whole, tags, devices))


def _unknown(written: str, refs: Sequence[str], whole: int, tags: Mapping[str, Tag], devices: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with what is ``written``, which stands for ``whole`` tags, ``refs`` of them unknown, and the remedy."""
    ref, names = refs[0], [each.partition(".")[2] for each in refs]
    device, dot, _ = ref.partition(".")
    if not dot:
        return f"'{ref}' names no tag", "write it as device.tag"
    if device not in devices:
        return f"there is no device '{device}' (in '{written}')", did_you_mean(
            device, devices
        ) or f"describe it in devices/{device}.yaml"
    if _SLOT not in written:
        return f"device '{device}' has no tag '{names[0]}'", did_you_mean(ref, tags)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    message = f"device '{device}' lacks {len(refs)} of the {whole} tags of '{written}': {', '.join(names[:3])}{more}"
    alike = did_you_mean(ref, tags) if len(refs) == whole else ""  # where some slots have tags, the nearest name is another slot's
    return message, alike if alike.startswith("did") else "declare a tag for every slot, or correct size and first_slot"


def _by_number(ref: str) -> list[str | int]:
    """Return a key that puts slot 2 before slot 10."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", ref)]


def _written(part: Part, text: str) -> tuple[tuple[int, int], str]:
    """Return the place inside a part where ``text`` is written, and what stands there: itself, or the name of a ring's tags."""
    stack: list[tuple[Path_, Any]] = [((), part.source.data)]
    while stack:
        path, data = stack.pop()
        if _stands_for(data, text) and path[: len(part.path)] == part.path:
            return part.source.place(path), str(data)
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        stack.extend(((*path, key), value) for key, value in items)
    return part.source.place(part.path), text


def _stands_for(written: Any, text: str) -> bool:
    """Whether ``written`` is ``text``, or the name of a ring's tags that it is made from."""
    if not isinstance(written, str) or _SLOT not in written:
        return bool(written == text)
    before, _, behind = written.partition(_SLOT)
    return text.startswith(before) and text.endswith(behind) and text[len(before) : len(text) - len(behind)].isdecimal()


def _calendar(main: Source, agent: AgentFile | None) -> Calendar | None:
    if agent is None or not agent.shifts:
        return None
    try:
        return Calendar(agent.shifts, agent.time_zone)
    except ValueError as error:
        cause, _, remedy = str(error).partition("; ")
        main.problem(main.place(("shifts",)), cause, remedy)
        return None


def _rules(part: Part, tags: Mapping[str, Tag], calendar: Calendar | None) -> None:
    try:
        rules_of(part.config, tags=tags, calendar=calendar)
    except (ConfigError, ValueError) as error:
        for line in str(error).splitlines():
            cause, _, remedy = line.partition("; ")
            part.source.problem(_mentioned(part, cause), cause, remedy)


def _mentioned(part: Part, text: str) -> tuple[int, int]:
    """Return the place of the longest key path or tag that an error text names, else the unit's beginning."""
    places = part.source.keys
    best, longest = part.path, 0
    for path in places:
        dotted = ".".join(map(str, path[len(part.path) :]))
        if path[: len(part.path)] == part.path and dotted in text and len(dotted) > longest:
            best, longest = path, len(dotted)
    return places.get(best, part.source.place(part.path))


def check_codes(part: Part, tags: Mapping[str, Tag]) -> None:
    """Note a state or mode tag whose value is a measurement: a code that is scaled or a fraction means no state."""
    if part.config.state is None:
        return
    for place, ref in (("tag", part.config.state.tag), ("mode", part.config.state.mode)):
        tag = tags.get(ref) if ref is not None else None
        if tag is None:
            continue
        why = f"is a {tag.type}" if (tag.type or "").startswith("float") else ""
        if tag.scale != 1.0 or tag.offset != 0.0:
            why = f"has scale {tag.scale:g} and offset {tag.offset:g}"
        if why:
            part.source.problem(
                part.source.place((*part.path, "state", place)),
                f"{place}: '{ref}' {why}, so it is a measurement and no code",
                f"name the tag that carries the {'mode' if place == 'mode' else 'state'} as a whole number or text; codes are never scaled",
            )
