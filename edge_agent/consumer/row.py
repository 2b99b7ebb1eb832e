"""What is to be written, before anybody writes it: one row of one table, in words that both databases understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import msgspec

from edge_agent.model.instant import iso

Cell = str | int | float | Decimal | None
Cells = dict[str, Cell]
How = Literal["put", "once"]


class Row(msgspec.Struct, frozen=True):
    """A row of ``table``. ``put``: columns that are named replace those of a row with the same ``key``; ``once``: such a row stays as it is.

    ``newer``: replace only where this column is not smaller than what stands there.
    """

    table: str
    key: tuple[str, ...]
    cells: Mapping[str, Cell]
    how: How = "put"
    newer: str | None = None

    def sql(self) -> str:
        """Return the statement, with ``?`` for each cell in their order."""
        return _sql(self.table, self.key, tuple(self.cells), self.how, self.newer)


@lru_cache(maxsize=256)
def _sql(table: str, key: tuple[str, ...], columns: tuple[str, ...], how: How, newer: str | None) -> str:
    places = ", ".join("?" * len(columns))
    sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) ON CONFLICT "  # noqa: S608 - names of this package
    changed = [column for column in columns if column not in key]
    if how == "once" or not changed:
        return sql + "DO NOTHING"
    sql += f"({', '.join(key)}) DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in changed)}"
    return sql if newer is None else f"{sql} WHERE excluded.{newer} >= {table}.{newer}"


def text(value: Any) -> str | None:
    """Return what a text column takes: JSON for containers, no NUL, which PostgreSQL cannot keep."""
    if value is None:
        return None
    if isinstance(value, bool | dict | list):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value).replace("\0", "\u2400")


def whole(value: Any) -> int | None:
    """Return an integer of 32 bits, None for what is none."""
    number = isinstance(value, int | float) and value == value and abs(value) < 1 << 31  # noqa: PLR0124 - no NaN
    return int(value) if number else None


def when(micros: int | None) -> str | None:
    """Return UTC microseconds as RFC 3339."""
    return None if micros is None else iso(micros * 1000)
