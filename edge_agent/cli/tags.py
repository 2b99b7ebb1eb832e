"""``edge-agent tags export|import``: tag lists as tables, and what TIA Portal exports as tags."""

from __future__ import annotations

import csv
import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from edge_agent.cli import tia
from edge_agent.cli.progress import Progress
from edge_agent.cli.sheet import sheets
from edge_agent.cli.tia import Found
from edge_agent.cli.words import many
from edge_agent.config.load import InvalidConfigError, load, read_as
from edge_agent.config.source import read
from edge_agent.config.tagfile import tag_line, with_tags
from edge_agent.config.taglist import cell_value, merge_lists
from edge_agent.config.words import did_you_mean, words
from edge_agent.drivers.catalog import DeviceConfig, columns_of
from edge_agent.drivers.modbus.kinds import Name
from edge_agent.drivers.modbus.tag import ModbusTag
from edge_agent.drivers.opcua.tagconfig import OpcUaTag
from edge_agent.model.errors import ConfigError, EdgeAgentError

Kind = Literal["auto", "csv", "tia-nodeset", "tia-tags"]

OPCUA_COLUMNS = {
    **dict.fromkeys(("node", "path", "range", "field", "type", "uom"), "text"),
    **dict.fromkeys(("index", "scale", "offset", "deadband", "history", "acknowledge"), "value"),
    "names": "table",
    "sampling": "measure",
}
"""The columns of OPC UA tags, and how their cells read (as `drivers.modbus.columns`)."""

_DEVICE: TypeAdapter[Any] = TypeAdapter(DeviceConfig)
_MODELS: dict[str, TypeAdapter[Any]] = {"modbus": TypeAdapter(ModbusTag), "opcua": TypeAdapter(OpcUaTag)}


def export(directory: Path, device: str, output: Path | None, *, separator: str, decimal_comma: bool) -> None:
    """Write the tags of a device as CSV. Raises EdgeAgentError."""
    known = {each.device: each for each in load(directory).devices}
    if device not in known:
        raise ConfigError(f"there is no device {device!r}; {did_you_mean(device, known)}")
    if decimal_comma and separator == ",":
        raise EdgeAgentError("commas cannot be both decimal signs and separators; leave out --separator, or --decimal-comma")
    config = known[device]
    columns = _columns(config.driver)
    rows = {name: _flat(tag.model_dump(by_alias=True, exclude_defaults=True)) for name, tag in config.tags.items()}
    used = [key for key in columns if any(key in row for row in rows.values())]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n" if output is not None else "\n")
    writer.writerow(["name", *used])
    for name, row in rows.items():
        writer.writerow([name, *(_cell(row.get(key), columns[key], decimal_comma=decimal_comma) for key in used)])
    if output is None:
        print(text.getvalue(), end="")
        return
    _new(output, text.getvalue().encode("utf-8-sig"))  # the mark makes spreadsheets read it as UTF-8
    print(f"{output}: {many(len(rows), 'tag')} of {device}")


def _new(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as out:
            out.write(content)
    except FileExistsError as error:
        raise EdgeAgentError(f"{file} is there already; name another file") from error
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}") from error


def _columns(driver: str) -> dict[str, str]:
    return OPCUA_COLUMNS if driver == "opcua" else columns_of(driver) or {}


def _flat(tag: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in tag.items():
        if isinstance(value, Mapping) and key != "names":
            row |= {f"{key}.{inner}": each for inner, each in value.items() if each is not None}
        elif value is not None:
            row[key] = value
    return row


def _cell(value: Any, kind: str, *, decimal_comma: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " | ".join(f"{key}={text}" for key, text in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_cell(each, kind, decimal_comma=decimal_comma) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = ".nan" if isnan(value) else f"{value:.15g}"
        return text.replace(".", ",") if decimal_comma and not isnan(value) else text
    return str(value)


# -- import ---------------------------------------------------------------------------------------------------------


def import_(file: Path, device: Path, kind: Kind, *, dry_run: bool) -> None:
    """Add the tags of a table or an export to a device's file. Raises EdgeAgentError, and nothing was changed."""
    source = read(device)
    if source.problems or not isinstance(source.data, dict):
        raise InvalidConfigError(source.problems) if source.problems else ConfigError(f"{device} is no device file")
    merge_lists(source)
    driver = str(source.data.get("driver"))
    progress = Progress()
    progress(f"reading {file}")
    found = _found(file, kind, driver)
    there = source.data.get("tags") or {}
    fresh = [one for one in found if one.name not in there]
    lines = [tag_line(one.name, one.members, one.comment, usable=one.usable) for one in fresh]
    text = with_tags(source.text, lines) if lines else source.text
    if lines:
        _prove(device, text)
    progress.done()
    if dry_run:
        print("\n".join(lines))
    elif lines:
        device.write_text(text, encoding="utf-8")
    usable = sum(one.usable for one in fresh)
    print(
        f"{device}: {many(usable, 'tag')} {'would be ' if dry_run else ''}added, {many(len(fresh) - usable, 'line')} as comments, "
        f"{len(found) - len(fresh)} were there already",
        file=sys.stderr if dry_run else sys.stdout,
    )


def _found(file: Path, kind: Kind, driver: str) -> list[Found]:
    if kind == "auto":
        kind = _guessed(file)
    if kind == "csv":
        return _rows(file, driver)
    if driver != "opcua":
        raise EdgeAgentError("what TIA Portal exports are OPC UA variables; name the file of an OPC UA device")
    return tia.nodeset(file) if kind == "tia-nodeset" else tia.tag_table(file)


def _guessed(file: Path) -> Kind:
    if file.suffix.lower() == ".xml":
        return "tia-nodeset"
    if file.suffix.lower() == ".xlsx":
        return "tia-tags"
    head = {cell.lower() for sheet in sheets(file) for _, row in sheet.rows[:1] for cell in row}
    return "tia-tags" if head & {"logical address", "logische adresse", "data type", "datentyp"} else "csv"


def _rows(file: Path, driver: str) -> list[Found]:
    """Return the rows of a table; every mistake is told at its row before anything is changed."""
    (sheet,) = sheets(file)
    columns, model = _columns(driver), _MODELS[driver]
    mistakes: list[str] = []
    head = [cell.lower() for cell in sheet.rows[0][1]] if sheet.rows else []
    if "name" not in head:
        raise ConfigError(
            f"{file}:1: no column is called 'name'; the first row names the columns: name;{';'.join(list(columns)[:3])}"
        )
    mistakes += [
        f"{file}:{sheet.rows[0][0]}: unknown column '{key}'; {did_you_mean(key, ['name', *columns])}"
        for key in head
        if key and key != "name" and key not in columns
    ]
    found: dict[str, Found] = {}
    for number, cells in sheet.rows[1:]:
        row = {key: cell for key, cell in zip(head, cells, strict=False) if key and cell}
        name = row.pop("name", "")
        members = _members({key: cell_value(cell, columns[key], sheet.separator) for key, cell in row.items() if key in columns})
        if not name or name in found:
            mistakes.append(
                f"{file}:{number}: "
                + (
                    f"the tag '{name}' stands here a second time; rename one of them"
                    if name
                    else "the row has no name; give the tag one, or empty the row"
                )
            )
            continue
        mistakes += [
            f"{file}:{number}: {text}"
            for text in (*(text.removeprefix(": ") for text in _wrong(TypeAdapter(Name), name)), *_wrong(model, members))
        ]
        found[name] = Found(name, members)
    if mistakes:
        raise ConfigError("\n".join([*mistakes, f"{many(len(mistakes), 'mistake')}; nothing was changed"]))
    return list(found.values())


def _members(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the members of a tag: ``scale_from.factor`` is a member of a member."""
    members: dict[str, Any] = {}
    for key, value in row.items():
        outer, _, inner = key.partition(".")
        if inner:
            members.setdefault(outer, {})[inner] = value
        else:
            members[outer] = value
    return members


def _wrong(model: TypeAdapter[Any], value: object) -> Sequence[str]:
    try:
        model.validate_python(value)
    except ValidationError as invalid:
        told = [words(dict(error), _keys(model)) for error in invalid.errors(include_url=False)]
        return [f"{message}; {remedy}" if remedy else message for message, remedy in told]
    return ()


def _keys(model: TypeAdapter[Any]) -> list[str]:
    return list(model.json_schema().get("properties", {}))


def _prove(device: Path, text: str) -> None:
    """Load the file as it would be, beside the lists that it names. Raises InvalidConfigError with the places in it."""
    with tempfile.NamedTemporaryFile(
        "w", suffix=".yaml", dir=device.parent, prefix=f".{device.stem}-", encoding="utf-8", delete=False
    ) as file:
        file.write(text)
    try:
        read_as(_DEVICE, Path(file.name))
    except InvalidConfigError as invalid:  # nobody knows the copy, and in a moment it is gone
        told = [replace(one, file=device) if one.file == Path(file.name) else one for one in invalid.problems]
        raise InvalidConfigError(told) from None
    finally:
        Path(file.name).unlink()


def import_texts(file: Path, output: Path) -> None:
    """Write the texts of an export as a table of codes for reasons or alarms. Raises EdgeAgentError; nothing that exists is changed."""
    found = tia.texts(file)
    if not found:
        raise EdgeAgentError(f"{file}: no row has a number and a text; is it the export of alarms or of a text list?")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["code", "text", "language", "class"])
    writer.writerows((one.code, one.text, one.language, one.kind) for one in found)
    _new(output, text.getvalue().encode())
    print(
        f"{output}: {many(len(found), 'text')}; name it as table: {output.name} in the unit's file (docs/how-to/move-tag-lists.md)"
    )
