"""Tables of codes as CSV: what a machine's numbers for reasons, alarms and states mean to people and to the MES.

``code,text,language,mes,category`` and, where alarms need them, ``id``, ``severity`` and ``class``: only ``code`` must be there. A code may stand in
several lines, one a language. A code that no line knows keeps its number and gets no words: never a guess. Commas, semicolons or tabs separate, in the
encodings in which spreadsheets save (model/table.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticKnownError

from edge_agent.model.table import UnclosedError, decoded, parse

Code = int | str

COLUMNS: Final = ("code", "text", "language", "mes", "category", "id", "severity", "class")
DIRECTORY: Final = "directory"
"""Where relative paths begin: a member of the validation context that `config.load` gives."""

_LONGEST = 500
_MANY = 20_000
_MOST_SEVERE = 1000


class CodeRow(BaseModel):
    """One line: the code as the machine has it, words, and the code and category that the MES has for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Code
    text: str | None = None
    language: str | None = None
    mes: str | None = None
    category: str | None = None
    id: str | None = None
    severity: int | None = None
    kind: str | None = None


class Meaning(msgspec.Struct, frozen=True):
    """What a code means; every member None where nobody knows."""

    text: str | None = None
    mes: str | None = None
    category: str | None = None
    id: str | None = None
    severity: int | None = None
    kind: str | None = None

    @property
    def more(self) -> dict[str, str]:
        """The members that an event carries beside the words, as far as they are known."""
        return {name: value for name, value in (("mes", self.mes), ("category", self.category)) if value is not None}


UNKNOWN: Final = Meaning()


class CodeTable(BaseModel):
    """The lines of one file. Part of the configuration, so that its content is in the configuration's fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: tuple[CodeRow, ...]

    def meanings(self, language: str | None = None) -> Mapping[Code, Meaning]:
        """Return what each code means, with the words of ``language`` where there are any, else of its first line."""
        found: dict[Code, CodeRow] = {}
        for row in self.rows:
            known = found.get(row.code)
            if known is None or (language is not None and row.language == language and known.language != language):
                found[row.code] = row
        return {row.code: Meaning(row.text, row.mes, row.category, row.id, row.severity, row.kind) for row in found.values()}


def read_table(path: Path, shown: str) -> CodeTable:
    """Read a table. Raises ValueError with ``file:line`` and the remedy for the first thing that is wrong; ``shown`` is its name for people."""
    try:
        lines = parse(decoded(path.read_bytes())).rows
    except OSError as error:
        raise ValueError(
            f"the table '{shown}' cannot be read ({error.strerror}); write its path from the folder of agent.yaml on"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the table '{shown}' is no text in UTF-8 or Windows-1252; save it as CSV UTF-8") from error
    except UnclosedError as error:
        raise ValueError(f"{shown}:{error.line}: {error}; close it, or double it inside of quoted text") from error
    header = [cell.text for cell in lines[0]] if lines else []
    _check_header(header, shown, lines[0][0].line if lines else 1)
    rows = [_row(header, [cell.text for cell in cells], f"{shown}:{cells[0].line}") for cells in lines[1:]]
    if len(rows) > _MANY:
        raise ValueError(f"{shown} has more than {_MANY} lines; leave out what the machine never sends")
    seen: set[tuple[Code, str | None]] = set()
    for row in rows:
        if (row.code, row.language) in seen:
            raise ValueError(f"{shown}: code {row.code} stands there twice in one language; leave one of them out")
        seen.add((row.code, row.language))
    return CodeTable(file=shown, rows=tuple(rows))


def _check_header(header: list[str], shown: str, line: int) -> None:
    while header and not header[-1]:  # a separator at the end
        header.pop()
    strange = [name for name in header if name not in COLUMNS]
    if strange:
        raise ValueError(f"{shown}:{line}: column '{strange[0]}' is not known; the columns are {', '.join(COLUMNS)}")
    if "code" not in header:
        raise ValueError(f"{shown}:{line}: there is no column 'code'; the first line names the columns, as in code,text,mes")


def _row(header: list[str], cells: list[str], place: str) -> CodeRow:
    if any(cells[len(header) :]):
        raise ValueError(f"{place}: more cells than columns; write text with separators in double quotes")
    row: dict[str, Any] = {name: cell or None for name, cell in zip(header, cells, strict=False)}
    text = row.get("code")
    if text is None:
        raise ValueError(f"{place}: the code is missing; every line begins with the machine's number")
    longest = max(len(cell) for cell in cells)
    if longest > _LONGEST:
        raise ValueError(f"{place}: a cell has {longest} characters; an event has room for {_LONGEST}")
    row["code"] = int(text) if text.lstrip("-").isdecimal() else text
    row["kind"] = row.pop("class", None)
    severity = row.get("severity")
    if severity is not None:
        if not severity.isdecimal() or not 1 <= int(severity) <= _MOST_SEVERE:
            raise ValueError(f"{place}: '{severity}' is no severity; write a whole number from 1 to {_MOST_SEVERE}")
        row["severity"] = int(severity)
    return CodeRow(**row)


def _from_file(value: object, info: ValidationInfo) -> object:
    """Turn the path that stands in the configuration into the table; what is a table already stays."""
    if isinstance(value, CodeTable) or (isinstance(value, dict) and "rows" in value):  # of a recording
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    directory = (info.context or {}).get(DIRECTORY, Path())
    return read_table(Path(directory) / value, value)


TableFile = Annotated[
    CodeTable,
    BeforeValidator(_from_file),
    WithJsonSchema({"type": "string", "description": "CSV file, from the folder of agent.yaml on"}),
]
"""A table of codes in a configuration: the path of its file."""
