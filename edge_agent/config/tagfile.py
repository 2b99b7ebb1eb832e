"""Tags as lines of YAML, and their place in a device file whose comments and order stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from edge_agent.model.errors import ConfigError

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_COMMENT_AT = 90


def tag_line(name: str, members: Mapping[str, Any], comment: str = "", *, indent: int = 2, usable: bool = True) -> str:
    """Return ``name: {node: "...", type: ...}   # comment`` in one line; a tag that is not ``usable`` is a comment as a whole."""
    inside = ", ".join(f"{key}: {scalar(value)}" for key, value in members.items())
    line = f"{' ' * indent}{'' if usable else '# '}{scalar(name)}: {{{inside}}}"
    return f"{line:<{_COMMENT_AT}}   # {printable(comment)}" if comment else line


def scalar(value: object) -> str:
    """Return a value as YAML in one line: plain words plain, other text in double quotes, tables in braces."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str):
        return (
            value
            if _PLAIN.fullmatch(value) and value.lower() not in _WORDS
            else json.dumps(value, ensure_ascii=not value.isprintable())
        )
    return json.dumps(value)


def printable(text: str) -> str:
    """Return text that stays on its line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def with_tags(text: str, lines: Sequence[str], indent: int = 2) -> str:
    """Return the file with ``lines`` behind the last entry of ``tags:``; nothing else changes. Raises ConfigError with the remedy.

    ``lines`` are indented by ``indent``; where the file indents otherwise, they follow it.
    """
    root = YAML(typ="rt", pure=True).compose(text)
    if not isinstance(root, MappingNode):
        raise ConfigError("the file is no table of keys and values; start with `version: 1`")
    rows = text.splitlines(keepends=True)
    key, tags = next((pair for pair in root.value if isinstance(pair[0], ScalarNode) and pair[0].value == "tags"), (None, None))
    if key is None or tags is None or (isinstance(tags, ScalarNode) and not tags.value):
        at = len(rows) if key is None else key.start_mark.line + 1
        new = [*(["tags:\n"] if key is None else []), *(f"{line}\n" for line in lines)]
    elif not isinstance(tags, MappingNode) or tags.flow_style:
        raise ConfigError("`tags:` is written in braces; write one tag in a line, so that more can be added")
    else:
        column = tags.value[0][0].start_mark.column
        at = _last_line(tags) + 1
        new = [f"{' ' * column}{line[indent:]}\n" for line in lines]
    if at and rows and not rows[at - 1].endswith("\n"):
        rows[at - 1] += "\n"
    return "".join([*rows[:at], *new, *rows[at:]])


def _last_line(node: Node) -> int:
    """Return the line on which a node ends; block tables end where their last value does, not at the next token."""
    if isinstance(node, MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    if getattr(node, "flow_style", None) is False and getattr(node, "value", None):
        return _last_line(node.value[-1])
    mark = node.end_mark
    line: int = mark.line
    return line - 1 if mark.column == 0 and line > node.start_mark.line else line
