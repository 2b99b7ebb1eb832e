"""Kinds of values that more than one part of a Modbus device's configuration takes."""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from edge_agent.drivers.modbus.field import Order
from edge_agent.drivers.modbus.scale import ratio_of
from edge_agent.model.instant import MS
from edge_agent.model.quantity import Duration

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]

_FLOOR = 10 * MS
_ALIAS: dict[str, Order] = {
    "big": "ABCD", "little": "CDAB", "word_swap": "CDAB", "byte_swap": "BADC", "word_byte_swap": "DCBA",
    "ABCDEFGH": "ABCD", "GHEFCDAB": "CDAB", "BADCFEHG": "BADC", "HGFEDCBA": "DCBA",
    "ABCDEF": "ABCD", "EFCDAB": "CDAB", "BADCFE": "BADC", "FEDCBA": "DCBA", "AB": "ABCD", "BA": "BADC",
}  # fmt: skip
"""Other spellings of the orders: words, and the letters of values of four, three and one register."""

_ORDERS: tuple[Order, ...] = get_args(Order)


def _order(text: object) -> object:
    if not isinstance(text, str):
        return text
    letters = text.upper()
    return _ALIAS.get(text.lower(), _ALIAS.get(letters, letters if letters in _ORDERS else text))


def _whole(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a whole number is expected, not yes/no")  # noqa: TRY004 - pydantic shows ValueErrors
    return value


def _not_tiny(interval: int) -> int:
    if interval < _FLOOR:
        raise ValueError("the shortest interval is 10ms")
    return interval


def _no_nan(bound: float) -> float:
    if math.isnan(bound):
        raise ValueError("a bound must be a number; write .inf or -.inf where there is none")
    return bound


def _list(given: object) -> object:
    return (given,) if isinstance(given, int | float) and not isinstance(given, bool) else given


def _raw(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number; write 0x7FFF, -1 or .nan")  # noqa: TRY004 - pydantic shows ValueErrors
    return value


def _texts(given: object) -> object:
    items = given if isinstance(given, list | tuple) else (given,)
    return tuple(str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item for item in items)


def _ratio(text: str) -> str:
    ratio_of(text)
    return text


Whole = Annotated[int, BeforeValidator(_whole)]
Period = Annotated[Duration, AfterValidator(_not_tiny)]
WordOrder = Annotated[Order, BeforeValidator(_order), WithJsonSchema({"enum": [*_ORDERS, *_ALIAS], "type": "string"})]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Bound = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_no_nan)]
Encoding = Literal["utf-8", "ascii", "latin-1", "cp1252"]
BadValues = Annotated[
    tuple[Annotated[int | float, BeforeValidator(_raw)], ...], BeforeValidator(_list, json_schema_input_type=float | list[float])
]
Ratios = Annotated[
    tuple[Annotated[str, AfterValidator(_ratio)], ...],
    BeforeValidator(_texts, json_schema_input_type=float | str | list[float | str]),
]
TagLists = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...],
    BeforeValidator(lambda files: (files,) if isinstance(files, str) else files, json_schema_input_type=str | list[str]),
]
