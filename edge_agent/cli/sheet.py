"""The cells of a spreadsheet: .xlsx (ECMA-376, part 1, 18: a zip of XML) by the standard library, and CSV with any separator."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.table import UnclosedError, decoded, number, parse

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LARGEST = 64 << 20
_CELL = re.compile(r"([A-Z]+)(\d+)")


class Sheet(NamedTuple):
    """One table: its name, and rows of texts with the number that each row has for people."""

    name: str
    rows: list[tuple[int, list[str]]]
    separator: str = ""

    def plain_number(self, text: str) -> str:
        """Return a cell with decimal commas as points, where commas do not separate."""
        return number(text, self.separator) if self.separator else text


def sheets(file: Path) -> list[Sheet]:
    """Return the tables of a file. Raises EdgeAgentError with the remedy when it cannot be read."""
    try:
        raw = file.read_bytes() if file.stat().st_size <= _LARGEST else None
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}; check the path") from error
    if raw is None:
        raise EdgeAgentError(f"{file} is larger than {_LARGEST >> 20} MiB; export fewer tags at once")
    if raw.startswith(b"PK"):
        return _workbook(file)
    if raw.startswith(b"\xd0\xcf\x11\xe0"):
        raise EdgeAgentError(f"{file} is an old .xls; save it as .xlsx or as CSV")
    try:
        table = parse(decoded(raw))
    except (UnclosedError, UnicodeDecodeError) as error:
        raise EdgeAgentError(f"{file}: {error}; save it as CSV UTF-8") from error
    return [Sheet(file.name, [(row[0].line, [cell.text for cell in row]) for row in table.rows], table.separator)]


def xml(raw: bytes, shown: str) -> ET.Element:
    """Return the root of an XML document. Raises EdgeAgentError; a document type is refused, for entities can grow without end."""
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise EdgeAgentError(f"{shown} declares a document type or entities, which no export does; it is not read")
    try:
        return ET.fromstring(raw)  # noqa: S314 - without a document type there is nothing to expand
    except ET.ParseError as error:
        raise EdgeAgentError(f"{shown} is no XML: {error}; export it again") from error


def _workbook(file: Path) -> list[Sheet]:
    try:
        with zipfile.ZipFile(file) as book:
            names = book.namelist()
            texts = _texts(book) if "xl/sharedStrings.xml" in names else []
            titles = [sheet.get("name", "") for sheet in xml(_part(book, "xl/workbook.xml", file), str(file)).iter(f"{_MAIN}sheet")]
            parts = sorted((name for name in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)), key=_numbered)
            return [
                Sheet(titles[at] if at < len(titles) else name, _rows(xml(_part(book, name, file), name), texts))
                for at, name in enumerate(parts)
            ]
    except (zipfile.BadZipFile, KeyError) as error:
        raise EdgeAgentError(f"{file} is no .xlsx workbook ({error}); export it again, or save it as CSV") from error


def _numbered(name: str) -> int:
    return int(re.sub(r"\D", "", name.rpartition("/")[2]))


def _part(book: zipfile.ZipFile, name: str, file: Path) -> bytes:
    if book.getinfo(name).file_size > _LARGEST:
        raise EdgeAgentError(f"{file}: {name} is larger than {_LARGEST >> 20} MiB unpacked; export fewer tags at once")
    return book.read(name)


def _texts(book: zipfile.ZipFile) -> list[str]:
    root = xml(_part(book, "xl/sharedStrings.xml", Path(book.filename or "")), "xl/sharedStrings.xml")
    return ["".join(part.text or "" for part in item.iter(f"{_MAIN}t")) for item in root.iter(f"{_MAIN}si")]


def _rows(root: ET.Element, texts: Sequence[str]) -> list[tuple[int, list[str]]]:
    rows = []
    for place, row in enumerate(root.iter(f"{_MAIN}row"), 1):
        cells: list[str] = []
        for cell in row.iter(f"{_MAIN}c"):
            named = _CELL.fullmatch(cell.get("r", ""))
            column = _column(named[1]) if named else len(cells)
            cells += [""] * (min(column, 1000) - len(cells)) + [_value(cell, texts)]
        if any(cells):
            rows.append((int(row.get("r", place)), cells))
    return rows


def _column(letters: str) -> int:
    found = 0
    for letter in letters:
        found = found * 26 + ord(letter) - 64
    return found - 1


def _value(cell: ET.Element, texts: Sequence[str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return "".join(part.text or "" for part in cell.iter(f"{_MAIN}t")).strip()
    found = cell.find(f"{_MAIN}v")
    text = "" if found is None or found.text is None else found.text.strip()
    if kind == "s" and text.isdigit() and int(text) < len(texts):
        return texts[int(text)].strip()
    if kind == "b":
        return "true" if text == "1" else "false"
    return text
