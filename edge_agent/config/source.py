"""One YAML file as plain data that remembers where everything stood.

YAML is read by composition only: scalars are resolved by the rules of YAML 1.2's core schema, so that ``no``, ``on`` and ``12:30`` stay the text the user
wrote. Anchors, aliases and tags are refused (an alias can make 430 bytes into 10^9 nodes), as are duplicate keys and files beyond
4 MiB or 32 levels. ``${VAR}``, ``${VAR:-default}`` and ``${file:/path}`` are substituted inside parsed scalars, never in raw text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edge_agent.config.notyaml import why_not
from edge_agent.config.problem import Problem
from edge_agent.config.runs import Line, Runs
from edge_agent.config.scalar import resolve, whole

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32

Place = tuple[int, int]
"""Line and column, from 1."""

Path_ = tuple[str | int, ...]

_SUBSTITUTE = re.compile(r"\$\{(?:file:(?P<file>[^}]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?)\}")
_SECRET = re.compile(
    r"(?i)((?<![A-Za-z0-9])(?:[A-Za-z0-9_-]*(?:pass(?:word|wort|phrase|wd|code)?|kennwort|secret|token|api[_-]?key|private[_-]?key))"
    r"['\"]?[ \t]*:[ \t]*)(?!\$\{)\S.*"
)
"""What stands behind a key that looks like a password's: it is shown to nobody, for the output of a service is a log."""


@dataclass
class Source:
    """A parsed file: ``data`` (dicts, lists, scalars), and the places of keys and values by their path from the root.

    ``lists`` are the tables and included files that were put among the data; each holds the places of what came from it, by the same paths.
    ``variables`` go before those of the environment.
    """

    file: Path
    text: str
    data: Any = None
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lists: list[Source] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> list[Problem]:
        """The problems of the file and of the lists that it names."""
        return [*self.problems, *(problem for listed in self.lists for problem in listed.problems)]

    def owner(self, path: Path_) -> Source:
        """Return the list that ``path`` comes from, else the file itself."""
        return next((listed for listed in self.lists if any(path[:end] in listed.keys for end in range(1, len(path) + 1))), self)

    def place(self, path: Path_) -> Place:
        """Return where ``path`` stands, or the nearest parent that does."""
        for end in range(len(path), 0, -1):
            for places in (self.values, self.keys):
                if path[:end] in places:
                    return places[path[:end]] if end == len(path) else self.keys.get(path[:end], places[path[:end]])
        return self.values.get((), (1, 1))

    def problem(self, place: Place, message: str, remedy: str = "") -> None:
        """Note one problem at ``place``."""
        self.problems.append(Problem(self.file, place[0], place[1], message, remedy, self._line(place[0])))

    def _line(self, number: int) -> str:
        lines = self.text.splitlines()
        return _SECRET.sub(r"\1***", lines[number - 1]) if 0 < number <= len(lines) else ""


def read(file: Path, variables: Mapping[str, str] | None = None) -> Source:
    """Read one file. Never raises for what is in it: everything wrong stands in ``problems``, and ``data`` is None when nothing can be used."""
    source = Source(file, "", variables=variables or {})
    try:
        raw = file.read_bytes()
        if len(raw) > MAX_BYTES:
            source.problem(
                (1, 1), f"the file has {len(raw):,} bytes; the limit is {MAX_BYTES:,}", "split it: one file per device and per unit"
            )
            return source
        source.text = raw.decode("utf-8-sig")
    except OSError as error:
        source.problem((1, 1), f"cannot be read: {error.strerror}", "check the path and its permissions")
        return source
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        source.problem((line, 1), f"byte {raw[error.start]:#04x} is not UTF-8", "save the file as UTF-8")
        return source
    if not _too_deep(source):
        _compose(source)
    return source


def _too_deep(source: Source) -> bool:
    """Refuse thousands of brackets before the parser recurses into them."""
    depth = 0
    for number, line in enumerate(source.text.splitlines(), 1):
        for column, char in enumerate(line, 1):
            depth += (char in "[{") - (char in "]}")
            if depth > MAX_DEPTH * 4:
                source.problem(
                    (number, column), f"brackets are nested deeper than {MAX_DEPTH} levels", "write the list out, one item per line"
                )
                return True
    return False


def _compose(source: Source) -> None:
    """Parse the file; long lists of tags line by line, where that is certain to be the same."""
    runs = Runs(source.text)
    _parse(source, runs)
    if runs.left or (source.problems and runs.text != source.text):
        source.data, source.problems = None, []
        source.keys.clear()
        source.values.clear()
        _parse(source, Runs(""), source.text)


def _parse(source: Source, runs: Runs, text: str | None = None) -> None:
    try:
        root = YAML(typ="rt", pure=True).compose(runs.text if text is None else text)
    except (YAMLError, RecursionError) as error:
        source.problem(*why_not(error, source.text))
        return
    if root is None:
        source.problem((1, 1), "the file is empty", "write at least `version: 1`; the folder config/ has examples")
        return
    source.data = _plain(source, root, (), runs)


def _mark(node: Node) -> Place:
    return (node.start_mark.line + 1, node.start_mark.column + 1)


def _plain(source: Source, node: Node, path: Path_, runs: Runs) -> Any:
    """Return a node as plain data, noting places and problems."""
    source.values[path] = _mark(node)
    if len(path) > MAX_DEPTH:
        source.problem(_mark(node), f"nested deeper than {MAX_DEPTH} levels", "")
        return None
    if getattr(node, "anchor", None):
        source.problem(
            _mark(node),
            f"an anchor (&{node.anchor}) is used; anchors and aliases are not supported",
            "write the value out where it is needed",
        )
        return None
    if isinstance(node, MappingNode):
        return _mapping(source, node, path, runs)
    if isinstance(node, SequenceNode):
        return _sequence(source, node, path, runs)
    return _scalar(source, node) if isinstance(node, ScalarNode) else None


def _sequence(source: Source, node: SequenceNode, path: Path_, runs: Runs) -> list[Any]:
    data: list[Any] = []
    for item in node.value:
        data.append(_plain(source, item, (*path, len(data)), runs))
        if isinstance(item, ScalarNode) and item.style is None and not node.flow_style:
            for line in runs.behind(*_mark(item), str(item.value)):
                source.values[(*path, len(data))] = (line.number, line.column)
                data.append(resolve(line.name))
    return data


def _mapping(source: Source, node: MappingNode, path: Path_, runs: Runs) -> dict[Any, Any]:
    data: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode):
            source.problem(_mark(key_node), "a key must be a plain word", "")
            continue
        key = _key(source, key_node)
        if key in data:
            first = source.keys[(*path, key)][0]
            source.problem(
                _mark(key_node),
                f"the key '{key}' stands here a second time (first on line {first})",
                "remove or rename one of them",
            )
            continue
        source.keys[(*path, key)] = _mark(key_node)
        data[key] = _plain(source, value_node, (*path, key), runs)
        if isinstance(value_node, MappingNode) and not node.flow_style:
            for line in runs.behind(*_mark(key_node), str(key)):
                _entry(source, data, path, line)
    return data


def _entry(source: Source, data: dict[Any, Any], path: Path_, line: Line) -> None:
    """Put one line of a run among the data. A name that is there already is a problem, which the parser tells better."""
    own = (*path, line.name)
    if line.name in data:
        source.problem(
            (line.number, line.column), f"the key '{line.name}' stands here a second time", "remove or rename one of them"
        )
        return
    source.keys[own], source.values[own] = (line.number, line.column), (line.number, line.at - 1)
    inside = data[line.name] = {}
    for key, column, value, at in line.pairs():
        source.keys[(*own, key)], source.values[(*own, key)] = (line.number, column), (line.number, at)
        inside[key] = value


def _key(source: Source, node: ScalarNode) -> str | int:
    """Return a key; whole numbers stay numbers (verdict tables), everything else is text."""
    text = _text(source, node, str(node.value))
    return int(text) if node.style is None and re.fullmatch(r"-?(0|[1-9][0-9]*)", text) else text


def _scalar(source: Source, node: ScalarNode) -> Any:
    text, plain = str(node.value), node.style is None
    tag = str(getattr(node, "ctag", None) or node.tag or "")
    if tag.startswith("!"):
        source.problem(_mark(node), f"the tag {tag} is not supported", "write the value without it")
        return None
    if "${" in text:
        text = _substituted(source, node, text)
    text = _text(source, node, text)
    return resolve(text) if plain else text


def _text(source: Source, node: ScalarNode, text: str) -> str:
    found = whole(text)
    if found is None:
        source.problem(
            _mark(node),
            f"{ascii(text)[:60]} is no text: half of a character stands alone in it",
            "write the character itself, in UTF-8, or both halves of its escape",
        )
    return found or ""


def _substituted(source: Source, node: ScalarNode, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match["file"]:
            try:
                return Path(match["file"]).read_text(encoding="utf-8").rstrip("\n")
            except OSError as error:
                source.problem(
                    _mark(node), f"{match['file']} cannot be read: {error.strerror}", "check the path, or create the file"
                )
                return ""
            except UnicodeDecodeError:
                source.problem(_mark(node), f"{match['file']} is not UTF-8", "save the file as UTF-8")
                return ""
        found = source.variables.get(match["name"], os.environ.get(match["name"], match["default"]))
        if found is None:
            source.problem(
                _mark(node),
                f"the environment variable {match['name']} is not set",
                f"set it, or give a default: ${{{match['name']}:-value}}, or name it under variables: in agent.yaml",
            )
        return found or ""

    left = _SUBSTITUTE.sub("", text)
    if "${" in left:
        source.problem(
            _mark(node),
            f"'{left[left.index('${') :][:40]}' is no substitution that is complete",
            "write ${NAME}, ${NAME:-default} or ${file:/path}, with the closing brace; a name has letters, digits and _",
        )
    return _SUBSTITUTE.sub(value, text)
