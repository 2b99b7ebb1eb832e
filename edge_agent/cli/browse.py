"""``edge-agent browse``: what an OPC UA server has, as tags to copy or to add to a device file. Reads, and never writes to the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from edge_agent import logs
from edge_agent.agent.clock import WallClock
from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.cli.owner import as_owner
from edge_agent.cli.progress import Progress
from edge_agent.config.load import identity_of
from edge_agent.config.source import MAX_BYTES, Source, read
from edge_agent.config.tagfile import printable, scalar, tag_line, with_tags
from edge_agent.config.words import words
from edge_agent.drivers.opcua.config import OpcUaConfig, TagsFrom
from edge_agent.model.errors import ConfigError
from edge_agent.ports import Identity

if TYPE_CHECKING:
    from edge_agent.drivers.opcua.browse import Candidate  # at run time it would import asyncua with every command

_PLACEHOLDER = {"tags": {"placeholder": {"node": "ns=0;i=2258"}}}
_MOST_NAMES = 40


class Wish(NamedTuple):
    """What a user asked for."""

    target: str | None
    path: str | None
    depth: int
    limit: int
    add: Path | None
    allow_insecure: bool
    config: Path | None = None


class _Device(NamedTuple):
    config: OpcUaConfig
    source: Source | None
    has_tags: bool


def browse(wish: Wish) -> None:
    """Print the tags that the server could give, or add those that are missing to a file. Raises EdgeAgentError."""
    from edge_agent.drivers.opcua.browse import survey

    logs.configure("error")
    device = _device(wish)
    rules = _rules(wish, device.config)
    progress = Progress()
    try:
        identity = None if device.config.allow_insecure else _identity(wish, device)
        with as_owner(identity.folder) if identity is not None else contextlib.nullcontext():
            found = asyncio.run(survey(device.config, rules, WallClock(), progress, declared=device.has_tags, identity=identity))
    finally:
        progress.done()
    fresh = [one for one in found.candidates if not one.declared]
    noted = device.source.text if wish.add is not None and device.source is not None else ""
    lines = [_line(one) for one in fresh if not _is_noted(one, noted)]
    usable = sum(one.usable and "${" not in one.node for one in fresh)
    heading = [
        f"{found.server} at {device.config.url} (profile {found.profile})",
        f"{found.seen:,} nodes seen, {len(found.candidates):,} values found for {', '.join(rule.browse for rule in rules)}",
        *(f"not everything: {cut}; narrow the path, or raise --depth and --limit" for cut in found.cut),
        *found.notes,
    ]
    if wish.add is None:
        print(
            "\n".join(
                [*(f"# {printable(text)}" for text in heading), "tags:", *lines]
                if lines
                else [f"# {printable(text)}" for text in heading]
            )
        )
        return
    print("\n".join(printable(text) for text in heading), file=sys.stderr)
    _add(wish.add, device, lines, {one.name for one in fresh if one.usable})
    already = sum(one.declared for one in found.candidates)
    print(f"{wish.add}: {usable:,} tags added, {already:,} were there already")


def _is_noted(one: Candidate, text: str) -> bool:
    """Whether a value that is no tag stands as a comment in the file already; what follows its address may be another value today."""
    if one.usable and "${" not in one.node:
        return False
    start = tag_line(one.name, _members(one), usable=False).strip()
    return any(row.strip().startswith(start) for row in text.splitlines())


def _line(one: Candidate) -> str:
    usable = one.usable and "${" not in one.node
    return tag_line(one.name, _members(one), f"{one.shown}   {one.path}".strip(), usable=usable)


def _members(one: Candidate) -> dict[str, object]:
    members: dict[str, object] = {"node": one.node}
    if one.field:
        members["field"] = one.field
    if one.type is not None:
        members["type"] = one.type
    if one.uom:
        members["uom"] = one.uom
    if 0 < len(one.names) <= _MOST_NAMES and (one.type or "").lstrip("u").startswith("int"):
        members["names"] = dict(one.names)
    return members


def _rules(wish: Wish, config: OpcUaConfig) -> Sequence[TagsFrom]:
    if wish.path is None and config.tags_from:
        return config.tags_from
    path = (wish.path or "").strip("/")
    below = [path, f"{path}/**"] if path not in {"", "Objects"} else ["**"]  # the node itself, and what is below
    patterns = [path] if re.search(r"(?<!&)[*?\[]", path) else below
    try:
        return [TagsFrom.model_validate({"browse": one, "depth": wish.depth, "max_tags": wish.limit}) for one in patterns]
    except ValidationError as error:
        raise ConfigError(_words(error)) from None


def _device(wish: Wish) -> _Device:
    """Return where to connect: the device of the file, a device file named instead of a URL, or the URL alone."""
    file = wish.add if wish.add is not None and wish.add.exists() else None
    if file is None and wish.target is not None and not wish.target.startswith("opc.tcp:") and Path(wish.target).is_file():
        file = Path(wish.target)
    if file is not None:
        return _from_file(file, wish)
    if wish.target is None:
        raise ConfigError("name a server (opc.tcp://host:4840) or a device file")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", wish.add.stem).strip("-_") if wish.add is not None else "browsed"
    data = {"version": 1, "device": name or "device", "driver": "opcua", "url": wish.target}
    if wish.allow_insecure:
        data["allow_insecure"] = True
    return _Device(_validated(data | _PLACEHOLDER, "see --help"), None, has_tags=False)


def _from_file(file: Path, wish: Wish) -> _Device:
    source = read(file)
    if source.problems or not isinstance(source.data, dict):
        raise ConfigError("\n".join(map(str, source.problems)) or f"{file} is no device file")
    if source.data.get("driver") != "opcua":
        raise ConfigError(f"{file} is no OPC UA device; browse looks into OPC UA servers only")
    data = dict(source.data)
    if wish.target is not None and wish.target.startswith("opc.tcp:"):
        data["url"] = wish.target
    if wish.allow_insecure:
        data["allow_insecure"] = True
    has_tags = bool(data.get("tags"))
    if not has_tags:
        data = {key: value for key, value in data.items() if key != "boot"} | _PLACEHOLDER
    return _Device(_validated(data, f"see {file}"), source, has_tags)


def _identity(wish: Wish, device: _Device) -> Identity | None:
    """Return who asks: the agent whose configuration is named, or holds the device file, or is installed; None when there is none."""
    beside = device.source.file.absolute().parent.parent if device.source is not None else None
    for place in (wish.config, beside, DEFAULT_CONFIG):
        if place is not None and (place == wish.config or (place / "agent.yaml").is_file()):
            return identity_of(place)
    return None


def _validated(data: dict[str, Any], where: str) -> OpcUaConfig:
    try:
        return OpcUaConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{_words(error)} ({where})") from None


def _words(error: ValidationError) -> str:
    told = [words(dict(one), ()) for one in error.errors(include_url=False)]
    return "\n".join(f"{message}; {remedy}" if remedy else message for message, remedy in told)


def _add(file: Path, device: _Device, lines: Sequence[str], names: set[str]) -> None:
    """Write the file anew with the lines in it, after looking whether it then says what it said, and the new tags, and no more."""
    if not lines:
        return
    if device.source is not None:
        text = with_tags(device.source.text, lines)
    else:
        config = device.config
        head = ["version: 1", f"device: {scalar(config.device)}", "driver: opcua", f"url: {scalar(config.url)}"]
        head += ["allow_insecure: true   # security policy None"] if config.allow_insecure else []
        text = "\n".join([*head, "tags:", *lines, ""])
    if (size := len(text.encode())) > MAX_BYTES:
        raise ConfigError(
            f"{file}: with the new tags the file would have {size:,} bytes; the limit is {MAX_BYTES:,}. Nothing is added: narrow the path, "
            "or lower --limit and spread the tags over several devices (they share the connection)"
        )
    _checked(file, text, device, names)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    place = Path(new.name)
    place.chmod(file.stat().st_mode & 0o7777 if file.exists() else 0o644)
    place.replace(file)


def _checked(file: Path, text: str, device: _Device, names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / file.name
        trial.write_text(text, encoding="utf-8")
        after = read(trial)
    if after.problems:
        raise ConfigError(f"the file would be wrong then:\n{after.problems[0]}")
    before = device.source.data if device.source is not None else {}
    same = isinstance(after.data, dict) and all(after.data.get(key) == value for key, value in before.items() if key != "tags")
    tags = after.data.get("tags") or {} if isinstance(after.data, dict) else {}
    kept = all(tags.get(name) == value for name, value in (before.get("tags") or {}).items())
    if not same or not kept or set(tags) - set(before.get("tags") or {}) - names:
        raise ConfigError(f"{file}: the new tags do not fit into the file; print them without --add and copy them in by hand")
    if tags:
        _validated(after.data, str(file))
