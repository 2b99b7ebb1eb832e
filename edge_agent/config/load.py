"""From files to `AgentConfig`: everything that is wrong is found in one go, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_agent.config.problem import Problem
from edge_agent.config.schema import AgentConfig, AgentFile
from edge_agent.config.source import Path_, Source, read
from edge_agent.config.words import did_you_mean, words
from edge_agent.drivers.catalog import DeviceConfig, tags_of
from edge_agent.events.catalog import UnitConfig, inputs, rules_of
from edge_agent.events.shift import Calendar
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag

_AGENT: TypeAdapter[AgentFile] = TypeAdapter(AgentFile)
_DEVICE: TypeAdapter[Any] = TypeAdapter(DeviceConfig)
_UNIT: TypeAdapter[UnitConfig] = TypeAdapter(UnitConfig)


class InvalidConfigError(ConfigError):
    """All problems of a configuration; the text lists them, ready to print."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Carry ``problems``, at least one."""
        self.problems = sorted(set(problems), key=lambda problem: (str(problem.file), problem.line, problem.column))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} in the configuration"
        super().__init__("\n".join([*map(str, self.problems), count]))


@dataclass
class _Part:
    """One validated thing and where it came from."""

    config: Any
    source: Source
    path: Path_


def load(directory: Path) -> AgentConfig:
    """Load ``agent.yaml``, ``devices/*.yaml`` and ``units/*.yaml`` below ``directory``, or one file that holds everything.

    Raises InvalidConfigError with every problem found; nothing but the files and the environment is read.
    """
    file = directory if directory.is_file() else directory / "agent.yaml"
    root = file.parent
    main = read(file)
    sources = [main]
    agent = _validate(_AGENT, main, main.data, ())
    devices = _inline(_DEVICE, main, "devices")
    units = _inline(_UNIT, main, "units")
    if not directory.is_file():
        devices += _folder(_DEVICE, root / "devices", sources)
        units += _folder(_UNIT, root / "units", sources)
    _cross_check(main, agent, devices, units)
    problems = [problem for source in sources for problem in source.problems]
    if problems or agent is None:
        raise InvalidConfigError(problems)
    return AgentConfig.model_construct(
        agent=agent,
        devices=tuple(part.config for part in devices),
        units=tuple(part.config for part in units),
        directory=root.resolve(),
    )


def _folder(adapter: TypeAdapter[Any], folder: Path, sources: list[Source]) -> list[_Part]:
    parts = []
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        source = read(file)
        sources.append(source)
        config = _validate(adapter, source, source.data, ())
        if config is not None:
            parts.append(_Part(config, source, ()))
    return parts


def _inline(adapter: TypeAdapter[Any], source: Source, key: str) -> list[_Part]:
    """Return the valid items of a list in the main file; what is wrong in them was reported with the file as a whole."""
    items = source.data.get(key) if isinstance(source.data, dict) else None
    parts = []
    for index, item in enumerate(items if isinstance(items, list) else []):
        try:
            parts.append(_Part(adapter.validate_python(item), source, (key, index)))
        except ValidationError:
            continue
    return parts


def _validate(adapter: TypeAdapter[Any], source: Source, data: Any, path: Path_) -> Any:
    """Return the validated model, or None after noting what is wrong."""
    if data is None:
        return None
    if not isinstance(data, dict):
        source.problem(source.place(()), "the file must be a table of keys and values", "start with `version: 1`")
        return None
    try:
        return adapter.validate_python(data)
    except ValidationError as invalid:
        schema = adapter.json_schema()
        unreadable = {problem.line for problem in source.problems}
        for error in invalid.errors(include_url=False):
            where = _data_path(data, error["loc"])
            known = _known_keys(schema, schema, error["loc"][:-1])
            message, remedy = words(dict(error), known)
            place = source.place((*path, *where))
            if place[0] in unreadable:
                continue  # what could not be read on this line has been told; its absence is no second mistake
            if error["type"] == "union_tag_invalid":
                place = source.place((*path, *where, str(error.get("ctx", {}).get("discriminator", "")).strip("'")))
            if error["type"] == "extra_forbidden":
                place = source.keys.get((*path, *where), place)
            source.problem(place, message, remedy)
        return None


def _data_path(data: Any, loc: Iterable[Any]) -> Path_:
    """Return the part of pydantic's location that exists in the data: union tags and function names are left out."""
    path: list[str | int] = []
    for step in loc:
        if (isinstance(data, dict) and step in data) or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            data = data[step]
            path.append(step)
    return tuple(path)


def _known_keys(root: Mapping[str, Any], schema: Mapping[str, Any], loc: Sequence[Any]) -> set[str]:
    """Return the keys that the JSON schema allows at ``loc``; all branches of a union count."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    branches = [branch for key in ("anyOf", "oneOf", "allOf") for branch in schema.get(key, ())]
    known: set[str] = set()
    for branch in branches:
        known |= _known_keys(root, branch, loc)
    if not loc:
        return known | set(schema.get("properties", {}))
    step, rest = loc[0], loc[1:]
    inner = schema.get("properties", {}).get(step)
    if inner is None and isinstance(step, int):
        inner = schema.get("items")
    if inner is None and isinstance(schema.get("additionalProperties"), dict):
        inner = schema["additionalProperties"]
    if inner is not None:
        known |= _known_keys(root, inner, rest)
    mapping = schema.get("discriminator", {}).get("mapping", {})
    if step in mapping:
        known |= _known_keys(root, {"$ref": mapping[step]}, rest)
    return known


# -- what only shows when all files are known --------------------------------------------------------------------


def _cross_check(main: Source, agent: AgentFile | None, devices: Sequence[_Part], units: Sequence[_Part]) -> None:
    _unique(devices, "device")
    _unique(units, "unit")
    tags = {tag.ref: tag for part in devices for tag in tags_of(part.config)}
    calendar = _calendar(main, agent)
    invalid_devices = bool(main.problems) or any(part.source.problems for part in devices)
    for part in units:
        _references(part, tags, [device.config.device for device in devices], quiet=invalid_devices)
        if not part.source.problems and not invalid_devices:
            _rules(part, tags, calendar)


def _unique(parts: Sequence[_Part], key: str) -> None:
    seen: dict[str, _Part] = {}
    for part in parts:
        name = getattr(part.config, key)
        if name in seen:
            other = seen[name].source
            part.source.problem(
                part.source.place((*part.path, key)), f"{key} '{name}' exists already, in {other.file}", "give it another name"
            )
        seen[name] = part


def _references(part: _Part, tags: Mapping[str, Tag], devices: Sequence[str], *, quiet: bool) -> None:
    """Note every ``device.tag`` of a unit that does not exist, at the place where it is written."""
    for ref in sorted(inputs(part.config)):
        if ref in tags:
            continue
        device, dot, _ = ref.partition(".")
        if quiet and device not in devices:
            continue  # its device file is wrong itself and said so
        if not dot:
            message, remedy = f"'{ref}' names no tag", "write it as device.tag"
        elif device not in devices:
            message, remedy = f"there is no device '{device}' (in '{ref}')", did_you_mean(device, devices)
        else:
            message, remedy = f"device '{device}' has no tag '{ref.partition('.')[2]}'", did_you_mean(ref, tags)
        part.source.problem(_written(part, ref), message, remedy)


def _written(part: _Part, text: str) -> tuple[int, int]:
    """Return the place of the value ``text`` inside a part."""
    stack: list[tuple[Path_, Any]] = [((), part.source.data)]
    while stack:
        path, data = stack.pop()
        if data == text and path[: len(part.path)] == part.path:
            return part.source.place(path)
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        stack.extend(((*path, key), value) for key, value in items)
    return part.source.place(part.path)


def _calendar(main: Source, agent: AgentFile | None) -> Calendar | None:
    if agent is None or not agent.shifts:
        return None
    try:
        return Calendar(agent.shifts, agent.time_zone)
    except ValueError as error:
        cause, _, remedy = str(error).partition("; ")
        main.problem(main.place(("shifts",)), cause, remedy)
        return None


def _rules(part: _Part, tags: Mapping[str, Tag], calendar: Calendar | None) -> None:
    try:
        rules_of(part.config, tags=tags, calendar=calendar)
    except (ConfigError, ValueError) as error:
        for line in str(error).splitlines():
            cause, _, remedy = line.partition("; ")
            part.source.problem(_mentioned(part, cause), cause, remedy)


def _mentioned(part: _Part, text: str) -> tuple[int, int]:
    """Return the place of the longest key path or tag that an error text names, else the unit's beginning."""
    places = part.source.keys
    best: Path_ = ()
    for path in places:
        dotted = ".".join(map(str, path[len(part.path) :]))
        if path[: len(part.path)] == part.path and dotted and dotted in text and len(path) > len(best):
            best = path
    return places.get(best, part.source.place(part.path))
