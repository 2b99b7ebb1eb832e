"""Kinds of values that more than one part of a Modbus device's configuration takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from edge_agent.drivers.modbus.field import Order
from edge_agent.model.instant import MS
from edge_agent.model.quantity import Duration

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]

_FLOOR = 10 * MS
_ALIAS = {"big": "ABCD", "little": "CDAB"}


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is expected, not yes/no")  # noqa: TRY004 - pydantic shows ValueErrors
    return value


def _not_tiny(interval: int) -> int:
    if interval < _FLOOR:
        raise ValueError("the shortest interval is 10ms")
    return interval


Whole = Annotated[int, BeforeValidator(_whole)]
Period = Annotated[Duration, AfterValidator(_not_tiny)]
WordOrder = Annotated[Order, BeforeValidator(lambda text: _ALIAS.get(text, text) if isinstance(text, str) else text)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
