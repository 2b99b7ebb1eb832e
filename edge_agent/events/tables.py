"""State tables: what a code of a machine's state model means, as data beside this file; users add tables of their own.

A code that no table knows keeps its number and has the category ``unknown``: never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from ruamel.yaml import YAML

from edge_agent.events import codes
from edge_agent.events.codes import DIRECTORY, read_table
from edge_agent.model.reading import Value

Code = codes.Code

Category = Literal[
    "running", "starting", "stopping", "idle", "stopped", "starved", "blocked", "suspended", "held", "faulted", "unknown"
]  # fmt: skip
"""What a state is for everybody who does not know the model."""

Cause = Literal["faulted", "starved", "blocked", "held", "stopped", "flags"]
"""What a downtime through a state is put down to; ``flags`` = starved or blocked by the flags of the machine."""

SHIPPED = ("packml", "machinery", "mtconnect", "weihenstephan", "tmc")

_CAUSE_OF: Mapping[str, Cause] = {
    "faulted": "faulted", "starved": "starved", "blocked": "blocked", "held": "held", "suspended": "flags",
    "stopped": "stopped", "stopping": "stopped",
}  # fmt: skip


class State(msgspec.Struct, frozen=True):
    """One row: code, name, category, the cause it gives a downtime, and whether leaving running into it opens one."""

    code: Code
    name: str
    category: str
    cause: str | None = None
    opens: bool = True


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    category: Category
    code: int | None = None
    cause: Cause | None = None
    opens: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str
    states: list[_Row]
    next: dict[str, list[str]] = {}


class StateTable(msgspec.Struct, frozen=True):
    """The states of one model by code and by name, and the transitions it allows (by name; empty = no statement)."""

    model: str
    codes: Mapping[Code, State]
    names: Mapping[str, State]
    next: Mapping[str, frozenset[str]]

    def state(self, code: Code) -> State:
        """Return the state of ``code``; names match without regard to case. An unknown code keeps its number."""
        known = self.codes.get(code)
        if known is None and isinstance(code, str):
            known = self.names.get(code.casefold())
        if known is not None:
            return known
        return State(code, f"code {code}" if isinstance(code, int) else code, "unknown")

    def skips(self, before: Code, after: Code) -> bool:
        """Whether the model knows both states and allows no direct way from ``before`` to ``after``."""
        allowed = self.next.get(self.state(before).name)
        target = self.state(after)
        return allowed is not None and target.category != "unknown" and target.name not in allowed


def _category_alone(row: object) -> object:
    """A row may be its category alone: ``3: running``."""
    return {"category": row} if isinstance(row, str) else row


def _rows_of_file(table: object, info: ValidationInfo) -> object:
    """A table may be a CSV file, with the state's name as its text."""
    if not isinstance(table, str):
        return table
    rows = read_table(Path((info.context or {}).get(DIRECTORY, "")) / table, table).rows
    nameless = next((row for row in rows if row.category is None), None)
    if nameless is not None:
        raise ValueError(f"{table}: state {nameless.code} has no category; write one of {', '.join(get_args(Category))}")
    return {row.code: {"name": row.text, "category": row.category} for row in rows}


class UserState(BaseModel):
    """One row of a user's table; ``cause`` and ``opens`` say what the state means for downtimes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Category
    name: str | None = None
    cause: Cause | None = None
    opens: bool = True


class UserTable(BaseModel):
    """A state model of the user's own: ``{name: wrapper, base: packml, table: {42: {name: Jogging, category: running}, 43: held}}``.

    Rows of ``base`` hold where ``table`` says nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "custom"
    base: Literal["packml", "machinery", "mtconnect", "weihenstephan", "tmc"] | None = Field(
        default=None, description="the model whose rows hold where `table` names none"
    )
    table: Annotated[
        dict[Code, Annotated[UserState, BeforeValidator(_category_alone)]],
        BeforeValidator(_rows_of_file, json_schema_input_type=dict[Code, UserState | str] | str),
    ] = Field(description="the rows by code, or a CSV file with the columns code, text, category")


def load(model: str | UserTable) -> StateTable:
    """Return the shipped table ``model`` or a user's own. Raises ValueError for a name that is not shipped."""
    if isinstance(model, str):
        return _shipped(model)
    rows = list(_shipped(model.base).codes.values()) if model.base else []
    transitions = _shipped(model.base).next if model.base else {}
    rows = [row for row in rows if row.code not in model.table]
    for code, user in model.table.items():
        name = user.name or (str(code) if isinstance(code, str) else f"code {code}")
        rows.append(State(code, name, user.category, user.cause or _CAUSE_OF.get(user.category), user.opens))
    return _table(model.name, rows, transitions)


def of_categories(model: str) -> StateTable:
    """Return the table whose codes are the categories themselves, for states that are made from signals."""
    return _table(model, [State(name, name, name, _CAUSE_OF.get(name)) for name in get_args(Category)], {})


@cache
def _shipped(model: str) -> StateTable:
    if model not in SHIPPED:
        raise ValueError(f"state model '{model}' is not known; one of {', '.join(SHIPPED)}, or a table of your own")
    text = files("edge_agent.events").joinpath("states", f"{model}.yaml").read_text(encoding="utf-8")
    content = msgspec.convert(YAML(typ="safe", pure=True).load(text), _File)
    rows = [
        State(row.name if row.code is None else row.code, row.name, row.category, row.cause, row.opens) for row in content.states
    ]
    return _table(content.model, rows, {name: frozenset(after) for name, after in content.next.items()})


def _table(model: str, rows: list[State], transitions: Mapping[str, frozenset[str]]) -> StateTable:
    return StateTable(model, {row.code: row for row in rows}, {row.name.casefold(): row for row in rows}, transitions)


def code_of(value: Value | None) -> Code | None:
    """Return a sample as a code: whole numbers as int (also when scaled to float), text as it is; None when it is neither."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, int) else None
