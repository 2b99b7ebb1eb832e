"""A table of text (CSV) as spreadsheets write it, as cells that remember where they stood (pure).

RFC 4180 with what plants really have: the separator is a comma, a semicolon or a tab, whichever the first row has most of; a first line ``sep=;`` says it;
rows that are empty, or begin with ``#``, say nothing. Spreadsheets that write semicolons write decimal commas, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SEPARATORS = ";\t,"
_SAID = re.compile(r"\Asep=(.)\n", re.IGNORECASE)
_DECIMAL = re.compile(r"(?<![\d.,])([-+]?\d*),(\d+(?:[eE][-+]?\d+)?)(?![\d.,])")


class Cell(NamedTuple):
    """The text of one cell without the blanks around it, and the line and column where it begins, from 1."""

    text: str
    line: int
    column: int


class Table(NamedTuple):
    """The rows that say something, the first of them the header, and what separated the cells."""

    rows: tuple[tuple[Cell, ...], ...]
    separator: str


class UnclosedError(ValueError):
    """A quotation mark that opens and never closes, at ``line`` and ``column``."""

    def __init__(self, line: int, column: int) -> None:
        """Hold the place."""
        super().__init__("a quotation mark opens here and never closes")
        self.line = line
        self.column = column


def decoded(raw: bytes) -> str:
    """Return the text of a file: UTF-8 or UTF-16 with or without its mark, else the Windows code page. Raises UnicodeDecodeError."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> Table:
    """Return the table in ``text`` (lines end in LF). Raises UnclosedError."""
    said = _SAID.match(text)
    start = said.end() if said else 0
    separator = said[1] if said else _guess(text)
    rows = tuple(row for row in _rows(text, start, separator) if any(cell.text for cell in row) and not row[0].text.startswith("#"))
    return Table(rows, separator)


def number(text: str, separator: str) -> str:
    """Return a cell with its decimal commas as points, where commas do not separate."""
    return text if separator == "," else _DECIMAL.sub(r"\1.\2", text)


def _guess(text: str) -> str:
    first = next((line for line in text.split("\n") if line.strip() and not line.lstrip('" ').startswith("#")), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(_SEPARATORS, key=bare.count)


def _rows(text: str, at: int, separator: str) -> Iterator[tuple[Cell, ...]]:
    line = 1 + text.count("\n", 0, at)
    begin = at  # of the line
    cells: list[Cell] = []
    while at < len(text):
        start, where = at, (line, at - begin + 1)
        if text[at] == '"':
            content, at = _quoted(text, at, where)
            line += text.count("\n", start, at)
            begin = text.rfind("\n", 0, at) + 1
        else:
            content = ""
        end = min((place for place in (text.find(separator, at), text.find("\n", at)) if place >= 0), default=len(text))
        cells.append(Cell((content + text[at:end]).strip(), *where))
        at = end + 1
        if end == len(text) or text[end] == "\n":
            yield tuple(cells)
            cells, line, begin = [], line + 1, at
    if cells:  # the text ends in a separator
        yield tuple(cells)


def _quoted(text: str, at: int, where: tuple[int, int]) -> tuple[str, int]:
    """Return the content of the quotation that opens at ``at``, and the place behind it; a doubled mark is one."""
    parts, at = [], at + 1
    while (close := text.find('"', at)) >= 0:
        parts.append(text[at:close])
        if text[close + 1 : close + 2] != '"':
            return "".join(parts), close + 1
        parts.append('"')
        at = close + 2
    raise UnclosedError(*where)
