"""Takes configuration files from one version to the next, as edits of their text: comments, order and everything that has not changed stay.

Each step knows one version. It looks at the parsed file and says what is to be edited where; the text is edited from its end on, so that places
stay true. A step must be able to run on any file that was valid in its version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edge_agent.config.tagfile import scalar
from edge_agent.model.errors import ConfigError

NEWEST: Final = 1


class Edit(NamedTuple):
    """Replaces the characters from ``start`` to ``end`` by ``text``."""

    start: int
    end: int
    text: str


Step = Callable[[MappingNode, str], Iterator[Edit]]
"""Yields the edits that take a file (its root, its text) one version further, but for the version itself."""


def version_of(text: str) -> int:
    """Return the version that a file says, 0 for one that says none. Raises ConfigError for a file that cannot be read."""
    found = _members(_root(text)).get("version")
    if found is None:
        return 0
    value = found[1]
    if not isinstance(value, ScalarNode) or not re.fullmatch(r"\d+", str(value.value)):
        raise ConfigError("version is no whole number; write version: 1")
    return int(value.value)


def migrated(text: str) -> str:
    """Return the file in the newest version; one that is there already is returned as it is. Raises ConfigError."""
    version = version_of(text)
    if version > NEWEST:
        raise ConfigError(f"version {version} is of a newer edge-agent (this one knows {NEWEST}); install that version again")
    for step in range(version, NEWEST):
        root = _root(text)
        text = _edited(text, [*STEPS[step](root, text), *_version(root, step + 1)])
    return text


def _root(text: str) -> MappingNode:
    try:
        root = YAML(typ="rt", pure=True).compose(text)
    except YAMLError as error:
        raise ConfigError(f"this is not YAML: {error}; edge-agent check shows where") from error
    if not isinstance(root, MappingNode):
        raise ConfigError("the file is no table of keys and values")
    return root


def _members(node: Node | None) -> dict[str, tuple[ScalarNode, Node]]:
    if not isinstance(node, MappingNode):
        return {}
    return {str(key.value): (key, value) for key, value in node.value if isinstance(key, ScalarNode)}


def _edited(text: str, edits: list[Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _version(root: MappingNode, version: int) -> Iterator[Edit]:
    if (found := _members(root).get("version")) is not None:
        yield Edit(*_span(found[1]), str(version))
    else:
        first = root.start_mark.index
        yield Edit(first, first, f"version: {version}\n")


def _span(node: Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index


# -- version 0 to 1 -------------------------------------------------------------------------------------------------

_MILLISECONDS: Final[Mapping[str, str]] = {
    "poll_ms": "poll", "timeout_ms": "timeout", "sampling_ms": "sampling", "publishing_ms": "publishing", "micro_stop_ms": "micro_stop",
}  # fmt: skip
"""Durations whose unit stood in their name, and what they are called since it stands in their value."""


def _from_0(root: MappingNode, _: str) -> Iterator[Edit]:
    """Version 0: no `version`, durations as `poll_ms: 500`, the broker as `mqtt: {host, port}`; sites as one text with slashes."""
    for node in _mappings(root):
        for key, (name, value) in _members(node).items():
            if key in _MILLISECONDS and isinstance(value, ScalarNode):
                yield Edit(*_span(name), _MILLISECONDS[key])
                yield Edit(*_span(value), f"{str(value.value).strip()}ms")
    members = _members(root)
    yield from _broker(_members(members["mqtt"][1]) if "mqtt" in members else {})
    site = members.get("site")
    if site is not None and isinstance(site[1], ScalarNode):
        yield Edit(*_span(site[1]), f"[{', '.join(scalar(part) for part in str(site[1].value).split('/') if part)}]")


def _broker(mqtt: Mapping[str, tuple[ScalarNode, Node]]) -> Iterator[Edit]:
    if "host" not in mqtt or not isinstance(mqtt["host"][1], ScalarNode):
        return
    key, host = mqtt["host"]
    port = mqtt.get("port")
    number = int(port[1].value) if port is not None and isinstance(port[1], ScalarNode) else 1883
    yield Edit(*_span(key), "broker")
    yield Edit(*_span(host), scalar(f"{'mqtts' if 'tls' in mqtt else 'mqtt'}://{host.value}:{number}"))
    if port is not None:
        yield _without(port)


def _without(member: tuple[ScalarNode, Node]) -> Edit:
    """Return the edit that takes a member away: its line in a block, the piece up to the next comma in braces."""
    key, value = member
    buffer = str(key.start_mark.buffer)
    start, end = key.start_mark.index, value.end_mark.index
    line = buffer.rfind("\n", 0, start) + 1
    if not buffer[line:start].strip():
        after = buffer.find("\n", end)
        return Edit(line, len(buffer) if after < 0 else after + 1, "")
    before = re.search(r",\s*$", buffer[:start])
    if before is not None:
        return Edit(before.start(), end, "")
    behind = re.match(r"\s*,\s*", buffer[end:])
    return Edit(start, end + (behind.end() if behind else 0), "")


def _mappings(node: Node) -> Iterator[MappingNode]:
    if isinstance(node, MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _mappings(value)


STEPS: Final[Mapping[int, Step]] = {0: _from_0}
"""What leads from each version to the one after it."""
