"""From files to `AgentConfig`: everything that is wrong is found in one go, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from edge_agent.config.branches import meant
from edge_agent.config.crosscheck import Part, cross_check
from edge_agent.config.include import read_main
from edge_agent.config.problem import Problem
from edge_agent.config.schema import AgentConfig, AgentFile
from edge_agent.config.source import Path_, Source, read
from edge_agent.config.taglist import merge_lists
from edge_agent.config.words import KINDS, words
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.codes import DIRECTORY
from edge_agent.model.errors import ConfigError
from edge_agent.ports import Identity

_AGENT: TypeAdapter[AgentFile] = TypeAdapter(AgentFile)
_DEVICE: TypeAdapter[Any] = TypeAdapter(DeviceConfig)
_UNIT: TypeAdapter[UnitConfig] = TypeAdapter(UnitConfig)
_TAG = re.compile(r"Value error, tags\.([A-Za-z0-9_-]+)[.:]")

T = TypeVar("T")


class InvalidConfigError(ConfigError):
    """All problems of a configuration; the text lists them, ready to print."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Carry ``problems``, at least one."""
        self.problems = sorted(
            set(problems), key=lambda problem: (str(problem.file), problem.line, problem.column, problem.message)
        )
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''} in the configuration"
        super().__init__("\n".join([*map(str, self.problems), count]))


def load(directory: Path) -> AgentConfig:
    """Load ``agent.yaml``, ``devices/*.yaml`` and ``units/*.yaml`` below ``directory``, or one file that holds everything.

    A file that names no devices and has ``devices/`` beside it stands for its folder.
    Raises InvalidConfigError with every problem found; nothing but the files and the environment is read.
    """
    return _load(directory, units=True)


def load_devices(directory: Path) -> AgentConfig:
    """Load a configuration without its work units, whatever they hold. Raises InvalidConfigError for the agent and the devices."""
    return _load(directory, units=False)


def _load(directory: Path, *, units: bool) -> AgentConfig:
    alone = directory.is_file()
    file = directory if alone else directory / "agent.yaml"
    root = file.parent
    main, folders, variables = read_main(file)
    for index in range(len(_items(main, "devices"))):
        merge_lists(main, ("devices", index))
    sources = [main]
    if alone and not _named(main, "devices"):
        alone = not (root / "devices").is_dir()
    if not units and isinstance(main.data, dict):
        main.data.pop("units", None)
    agent = _validate(_AGENT, main, main.data, (), root)
    devices = _inline(_DEVICE, main, "devices")
    work = _inline(_UNIT, main, "units")
    for place in [*folders, *([] if alone else [root])]:
        devices += _folder(_DEVICE, place / "devices", sources, variables)
        work += _folder(_UNIT, place / "units", sources, variables) if units else []
    cross_check(sources, agent, devices, work)
    problems = [problem for source in sources for problem in source.faults]
    if problems or agent is None:
        raise InvalidConfigError(problems)
    for part in devices:
        _share(part.config.tags.values())
    return AgentConfig.model_construct(
        agent=agent,
        devices=tuple(part.config for part in devices),
        units=tuple(part.config for part in work),
        directory=root.resolve(),
        file=file.resolve() if alone else None,
        included=tuple(folder.resolve() for folder in folders),
    )


def read_as(adapter: TypeAdapter[T], file: Path) -> tuple[T, Source]:
    """Return a YAML file of another kind, validated, and where everything stands in it. Raises InvalidConfigError with every problem."""
    source = read(file)
    content: T = _validate(adapter, source, source.data, (), file.parent)
    refuse(source)
    return content, source


def refuse(source: Source) -> None:
    """Raise InvalidConfigError when ``source`` has problems."""
    if source.problems:
        raise InvalidConfigError(source.problems)


def identity_of(directory: Path) -> Identity:
    """Return who the agent of a configuration is, whatever its device and unit files hold. Raises InvalidConfigError."""
    return agent_of(directory).identity


def agent_of(directory: Path) -> AgentConfig:
    """Return the agent of a configuration alone, whatever its device and unit files hold. Raises InvalidConfigError."""
    alone = directory.is_file()
    file = directory if alone else directory / "agent.yaml"
    main, _, _ = read_main(file)
    if isinstance(main.data, dict):
        for part in ("devices", "units"):
            main.data.pop(part, None)
    agent = _validate(_AGENT, main, main.data, (), file.parent)
    if main.faults or agent is None:
        raise InvalidConfigError(main.faults)
    return AgentConfig.model_construct(
        agent=agent, devices=(), units=(), directory=file.parent.resolve(), file=file.resolve() if alone else None
    )


def _named(main: Source, key: str) -> bool:
    return isinstance(main.data, dict) and bool(main.data.get(key))


def _items(source: Source, key: str) -> list[Any]:
    items = source.data.get(key) if isinstance(source.data, dict) else None
    return items if isinstance(items, list) else []


def _folder(adapter: TypeAdapter[Any], folder: Path, sources: list[Source], variables: Mapping[str, str]) -> list[Part]:
    parts = []
    for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        source = read(file, variables)
        sources.append(source)
        if adapter is _DEVICE:
            merge_lists(source)
        config = _validate(adapter, source, source.data, (), folder.parent)
        if config is not None:
            parts.append(Part(config, source, ()))
    return parts


def _inline(adapter: TypeAdapter[Any], source: Source, key: str) -> list[Part]:
    """Return the valid items of a list in the main file; what is wrong in them was reported with the file as a whole."""
    parts = []
    for index, item in enumerate(_items(source, key)):
        try:
            parts.append(Part(adapter.validate_python(item, context={DIRECTORY: source.file.parent}), source, (key, index)))
        except ValidationError:
            continue
    return parts


def _share(tags: Iterable[BaseModel]) -> None:
    """Give tags with the same keys one set of their names instead of one each: 216 bytes of a tag. They are frozen, so nobody writes to it."""
    shared: dict[frozenset[str], set[str]] = {}
    for tag in tags:
        keys = tag.model_fields_set
        object.__setattr__(tag, "__pydantic_fields_set__", shared.setdefault(frozenset(keys), keys))


def _validate(adapter: TypeAdapter[Any], source: Source, data: Any, path: Path_, root: Path) -> Any:
    """Return the validated model, or None after noting what is wrong. Files that it names are looked for from ``root`` on."""
    if data is None:
        return None
    if not isinstance(data, dict):
        source.problem(source.place(()), "the file must be a table of keys and values", "start with `version: 1`")
        return None
    try:
        return adapter.validate_python(data, context={DIRECTORY: root})
    except ValidationError as invalid:
        schema = adapter.json_schema()
        unreadable = {problem.line for problem in source.problems}
        for error in meant(map(dict, invalid.errors(include_url=False)), lambda error: _data_path(data, error["loc"])):
            where, details = _pointed(data, error)
            known = _known_keys(schema, schema, error["loc"][:-1])
            message, remedy = words(details, known)
            owner = source.owner((*path, *where))
            place = owner.place((*path, *where))
            if error["type"] == "value_error" and isinstance(_at(data, where), (dict, list)):
                place = owner.keys.get((*path, *where), place)
            if source.faults and "the device has no tags" in error["msg"]:
                continue  # its list could not be read, and said so
            if owner is source and place[0] in unreadable:
                continue  # what could not be read on this line has been told; its absence is no second mistake
            if error["type"] == "union_tag_invalid":
                place = source.place((*path, *where, str(error.get("ctx", {}).get("discriminator", "")).strip("'")))
            if error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
                place = source.keys.get((*path, *where), place)
            owner.problem(place, message, remedy)
        return None


def _pointed(data: Any, error: dict[str, Any]) -> tuple[Path_, dict[str, Any]]:
    """Return the path of what is wrong, and the error as people see it: a table has its name in the data, not pydantic's (a driver, an index)."""
    where = _data_path(data, error["loc"])
    if error["type"] in KINDS and where:
        return where, error | {"loc": where}
    if error["type"] != "value_error":
        return where, error
    name = where[:-1] if where and isinstance(where[-1], int) else where
    known = () if len(name) == 1 and name != where else name  # a whole device in a list
    exact = _data_path(data, (*error["loc"], *getattr(error["ctx"]["error"], "at", ())))
    return exact or _named_in(data, error["msg"]), error | {"loc": known}


def _named_in(data: Any, message: str) -> Path_:
    """Return the path of the tag that the error of a whole device begins with."""
    found = _TAG.match(message)
    return ("tags", found[1]) if found and found[1] in (data.get("tags") or {}) else ()


def _data_path(data: Any, loc: Iterable[Any]) -> Path_:
    """Return the part of pydantic's location that exists in the data: union tags and function names are left out."""
    path: list[str | int] = []
    for step in loc:
        if (isinstance(data, dict) and step in data) or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            data = data[step]
            path.append(step)
    return tuple(path)


def _at(data: Any, path: Path_) -> Any:
    for step in path:
        data = data[step]
    return data


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
