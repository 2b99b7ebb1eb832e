"""``tags_from``: tags as rows of a CSV file, merged with the ``tags:`` of a device before it is validated; every mistake at its row and column.

What is in the cells is judged by the same model as ``tags:``, so a tag means the same wherever it is written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edge_agent.config.scalar import resolve
from edge_agent.config.source import MAX_BYTES, Path_, Source
from edge_agent.config.words import did_you_mean
from edge_agent.drivers.catalog import columns_of
from edge_agent.model.table import Cell, Table, UnclosedError, decoded, number, parse

_NAME = "name"
_BETWEEN = re.compile(r"[\s|]+")


def merge_lists(source: Source, path: Path_ = ()) -> None:
    """Put the tags of the lists that the device at ``path`` names among its tags; what is wrong stands in the problems of ``source.lists``."""
    device = source.data
    for step in path:
        device = device[step]
    columns = columns_of(device.get("driver")) if isinstance(device, dict) else None
    named = device.get("tags_from") if columns is not None else None
    files = named if isinstance(named, list) else [named]
    if columns is None or not named or not all(isinstance(file, str) for file in files):
        return  # nothing to read, or what validation will find
    tags = device.setdefault("tags", {})
    if tags is None:
        tags = device["tags"] = {}
    if not isinstance(tags, dict):
        return
    for place, file in enumerate(files):
        where = source.place((*path, "tags_from", place) if isinstance(named, list) else (*path, "tags_from"))
        listed = _read(source, source.file.parent / file, where)
        if listed is not None:
            _merge(source, listed, path, tags, columns)


def _read(source: Source, file: Path, where: tuple[int, int]) -> Source | None:
    """Return the file as a source without data, None after noting why it cannot be read."""
    remedy = "the path is relative to this file's folder"
    try:
        raw = file.read_bytes()
    except OSError as error:
        source.problem(where, f"tags_from: {file} cannot be read: {error.strerror}", remedy)
        return None
    if len(raw) > MAX_BYTES:
        source.problem(
            where, f"tags_from: {file} has {len(raw):,} bytes; the limit is {MAX_BYTES:,}", "split it into several lists"
        )
        return None
    try:
        text = decoded(raw)
    except UnicodeDecodeError:
        source.problem(where, f"tags_from: {file} is neither UTF-8 nor Windows text", "save it as CSV UTF-8")
        return None
    listed = Source(file, text)
    source.lists.append(listed)
    return listed


def _merge(source: Source, listed: Source, path: Path_, tags: dict[Any, Any], columns: dict[str, str]) -> None:
    try:
        table = parse(listed.text)
    except UnclosedError as error:
        listed.problem((error.line, error.column), str(error), "close it, or double it where it is meant as a character")
        return
    keys = _header(listed, table, columns)
    if keys is None:
        return
    for row in table.rows[1:]:
        surplus = next((cell for cell in row[len(keys) :] if cell.text), None)
        if surplus is not None:
            listed.problem(
                (surplus.line, surplus.column),
                f"the row has more cells than the header's {len(keys)}",
                'put quotes around a cell with a separator in it: "1,5"',
            )
            continue
        _row(source, listed, path, tags, table, dict(zip(keys, row, strict=False)), columns)


def _header(listed: Source, table: Table, columns: dict[str, str]) -> list[str] | None:
    """Return the key of each column, None when the header cannot be used; an unknown column is told once, not for each row."""
    if not table.rows:
        listed.problem((1, 1), "the list is empty", f"begin with a row of names: {_NAME};register;address;type")
        return None
    keys: list[str] = []
    fine = True
    for cell in table.rows[0]:
        key = cell.text.lower()
        message = remedy = ""
        if key in keys and key:
            message, remedy = f"the column '{key}' stands here a second time", "remove or rename one of them"
        elif key and key not in columns and key != _NAME:
            message, remedy = f"unknown column '{cell.text}'", did_you_mean(key, [_NAME, *columns])
        if message:
            listed.problem((cell.line, cell.column), message, remedy)
            fine = False
        keys.append(key)
    if _NAME not in keys:
        first = table.rows[0][0]
        listed.problem(
            (first.line, first.column),
            f"no column is called '{_NAME}'",
            "the first row names the columns; add one with the tags' names",
        )
        return None
    return keys if fine else None


def _row(
    source: Source, listed: Source, path: Path_, tags: dict[Any, Any], table: Table, cells: dict[str, Cell], columns: dict[str, str]
) -> None:
    begin = next(iter(cells.values()))
    name = cells.get(_NAME)
    if name is None or not name.text:
        listed.problem((begin.line, begin.column), f"the row has no {_NAME}", "give the tag a name, or empty the row")
        return
    at = (*path, "tags", name.text)
    if name.text in tags:
        owner = source.owner(at)
        listed.problem(
            (name.line, name.column),
            f"the tag '{name.text}' stands here a second time (first in {owner.file.name}, line {owner.place(at)[0]})",
            "remove or rename one of them",
        )
        return
    listed.keys[at] = listed.values[at] = (name.line, name.column)
    tag: dict[str, Any] = {}
    for key, cell in cells.items():
        if key == _NAME or not key or not cell.text:
            continue
        outer, _, inner = key.partition(".")
        value = _value(cell.text, columns[key], table.separator)
        if inner:
            tag.setdefault(outer, {})[inner] = value
            listed.values.setdefault((*at, outer), (cell.line, cell.column))
        else:
            tag[outer] = value
        listed.values[(*at, *filter(None, (outer, inner)))] = (cell.line, cell.column)
        for place in range(len(value) if isinstance(value, list) else 0):
            listed.values[(*at, outer, place)] = (cell.line, cell.column)
    tags[name.text] = tag


def _value(text: str, kind: str, separator: str) -> Any:
    """Return what a cell says, as YAML would: ``kind`` is text, measure (text with a number in it), value, list or table."""
    if kind == "text":
        return text
    if kind == "table":
        return _entries(text)
    text = number(text, separator)
    if kind == "measure":
        return text
    if kind == "texts":
        return [part for part in _BETWEEN.split(text) if part]
    if kind == "list":
        return [resolve(part) for part in _BETWEEN.split(text.strip("[]")) if part]
    return resolve(text)


def _entries(text: str) -> Any:
    """Return ``0=stopped | 1=running`` as a table; the text itself, which validation refuses, where it is none."""
    pairs = [part.partition("=") for part in text.split("|") if part.strip()]
    if not all(middle for _, middle, _ in pairs):
        return text
    return {resolve(key.strip()): value.strip() for key, _, value in pairs}


def cell_value(text: str, kind: str, separator: str) -> Any:
    """Return what a cell of a tag list says, for whoever reads one outside of a configuration."""
    return _value(text, kind, separator)
