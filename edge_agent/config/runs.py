"""Long lists of tags, read line by line (pure): the general parser takes milliseconds a line, and plants have ten thousand.

A run is many lines of one and the same simple form, one below the other: ``name: {node: "s=Speed", type: float32}`` or ``- device.tag``. The
parser of YAML sees the first and the last line of it and empty ones between; what was between is put back behind the first (`Runs.behind`), where
the parser found it to be a key, or an item. A form that is not that simple ends the run, and a run that the parser took for something else (text in
a block, say) is nothing to build on: the file is then read as a whole by the parser.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from edge_agent.config.scalar import resolve

SHORTEST: Final = 20
"""Lines from which on a run is worth it."""

_PLAIN = r"-?[A-Za-z0-9_][A-Za-z0-9_.+/-]*"
_QUOTED = r'"[ !#%-\[\]-~]*"'
_PAIR = rf"[A-Za-z_][A-Za-z0-9_]*: (?:{_QUOTED}|{_PLAIN})"
_ENTRY: Final = re.compile(rf"( *)([A-Za-z_][A-Za-z0-9_-]*): \{{({_PAIR}(?:, {_PAIR})*)\}} *(?:#[ -~]*)?")
_ITEM: Final = re.compile(r"( *)- ([A-Za-z_][A-Za-z0-9_.-]*)")
_INSIDE: Final = re.compile(rf"([A-Za-z_][A-Za-z0-9_]*): (?:({_QUOTED})|({_PLAIN}))")
_OTHER_BREAKS: Final = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Line(NamedTuple):
    """One line of a run: its number from 1, the column of its key or item, the name, and what stands in its braces with its column."""

    number: int
    column: int
    name: str
    inside: str
    at: int

    def pairs(self) -> list[tuple[str, int, Any, int]]:
        """Return key, its column, value and its column, of everything in the braces."""
        out = []
        for found in _INSIDE.finditer(self.inside):
            value = found[2][1:-1] if found[2] is not None else resolve(found[3])
            out.append((found[1], self.at + found.start(), value, self.at + found.start(2 if found[2] is not None else 3)))
        return out


class Runs:
    """The runs of a file. ``text`` is what is left for the parser, with as many lines as before."""

    def __init__(self, text: str) -> None:
        self._behind: dict[tuple[int, int], list[Line]] = {}
        self.text = text if _OTHER_BREAKS.search(text) else self._without(text.split("\n"))

    def _without(self, rows: list[str]) -> str:
        start = 0
        while start < len(rows):
            lines = _run(rows, start)
            if len(lines) >= SHORTEST:
                self._behind[lines[0].number, lines[0].column] = lines
                rows[start + 1 : start + len(lines) - 1] = [""] * (len(lines) - 2)
            start += max(len(lines), 1)
        return "\n".join(rows)

    def behind(self, line: int, column: int, name: str) -> list[Line]:
        """Return what stood behind the key or item ``name`` that the parser found there, and forget it; nothing where no run begins."""
        lines = self._behind.get((line, column))
        if not lines or lines[0].name != name:
            return []
        del self._behind[line, column]
        return lines[1:-1]

    @property
    def left(self) -> bool:
        """Whether the parser took a run for something else."""
        return bool(self._behind)


def _run(rows: list[str], start: int) -> list[Line]:
    """Return the lines from ``start`` on that have one form and indentation, each name once."""
    entry = _ENTRY.fullmatch(rows[start])
    form = _ENTRY if entry is not None else _ITEM
    first = entry or form.fullmatch(rows[start])
    if first is None:
        return []
    lines, names = [], set[str]()
    for number in range(start, len(rows)):
        found = form.fullmatch(rows[number])
        if found is None or found[1] != first[1]:
            break
        if form is _ENTRY:
            line = Line(number + 1, found.start(2) + 1, found[2], found[3], found.start(3) + 1)
            keys = [pair[0] for pair in _INSIDE.findall(found[3])]
            if found[2] in names or len(set(keys)) != len(keys):
                break
            names.add(found[2])
        else:
            line = Line(number + 1, found.start(2) + 1, found[2], "", 0)
        lines.append(line)
    return lines
