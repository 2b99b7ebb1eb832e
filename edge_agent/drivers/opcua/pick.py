"""Which part of a variable's value a tag is: elements of an array, fields of a structure (pure).

A range of elements is written as in OPC 10000-4, 7.27: ``3``, ``2:5`` (both ends included), one for each dimension, with commas.
The fields of a structure are names with dots, elements of fields with brackets: ``Motor.Speed``, ``Motors[2].Speed``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from edge_agent.drivers.opcua.variant import STRUCTURE, DecodeError, Structure

_BOUND: Final = re.compile(r"^(\d{1,9})(?::(\d{1,9}))?$")
_STEP: Final = re.compile(r"^((?:&.|[^.&\[\]])+)((?:\[\d{1,9}(?:,\d{1,9})*\])?)$", re.DOTALL)
_DOTS: Final = re.compile(r"(?:&.|[^.&])+", re.DOTALL)
_ARRAY, _MATRIX, _BYTES, _BYTE = 0x80, 0x40, 15, 3

Decoded = Mapping[str, tuple[int, object]]
"""A structure by the names of its fields: for each its encoding byte (0 = not there) and its value; a nested structure is a Decoded."""

Layouts = Mapping[str, Callable[[bytes], Decoded]]
"""The decoder of each known structure by the id of its encoding; it raises DecodeError."""


class Complaint(str):
    """Takes the place of a value that could not be picked out, and says why."""

    __slots__ = ()


class Misfit(Complaint):
    """The structure is not what its type said: types have to be read anew."""

    __slots__ = ()


class Span(NamedTuple):
    """Elements of one dimension, both ends included, counted from 0."""

    first: int
    last: int


class Field(NamedTuple):
    """One step into a structure: a field's name, and the element of it where it is an array."""

    name: str
    element: tuple[Span, ...]


class Pick(NamedTuple):
    """What to take of a value: elements first, then fields. ``single``: the spans name one element, which comes as a scalar."""

    spans: tuple[Span, ...] = ()
    single: bool = False
    fields: tuple[Field, ...] = ()


def parse_spans(text: str) -> tuple[Span, ...]:
    """Return the spans of ``2:5`` or ``3`` or ``0:1,4``; raises ValueError with the remedy."""
    out = []
    for part in str(text).split(","):
        match = _BOUND.match(part.strip())
        if match is None:
            raise ValueError(f"{text!r} is no range of elements; write 3, 2:5, or one for each dimension: 0:1,4")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or (match[2] is not None and last == first):
            raise ValueError(f"{part.strip()!r} is no range: the end must be greater than the beginning; one element is an index")
        out.append(Span(first, last))
    return tuple(out)


def span_text(spans: tuple[Span, ...]) -> str:
    """Return the NumericRange (OPC 10000-4, 7.27)."""
    return ",".join(str(span.first) if span.first == span.last else f"{span.first}:{span.last}" for span in spans)


def parse_fields(text: str) -> tuple[Field, ...]:
    """Return the steps of ``Motors[2].Speed``; ``&`` escapes the character after it. Raises ValueError with the remedy."""
    parts = _DOTS.findall(text)
    steps = [_STEP.match(part) for part in parts]
    if not parts or ".".join(parts) != text or None in steps:
        raise ValueError(f"{text!r} is no field of a structure; write Speed, Motor.Speed or Motors[2].Speed")
    return tuple(
        Field(re.sub(r"&(.)", r"\1", step[1], flags=re.DOTALL), parse_spans(step[2][1:-1]) if step[2] else ())
        for step in steps
        if step is not None
    )


def pick(wanted: Pick, kind: int, value: object, layouts: Layouts, *, cut: bool) -> tuple[int, object]:
    """Return encoding byte and value of what ``wanted`` names, or 0 and a `Complaint`.

    ``cut``: the server has cut the array already, the value holds the wanted elements only. A value that is not there stays so.
    """
    if kind == 0 or value is None:
        return kind, value
    try:
        if wanted.spans:
            kind, value = elements(kind, value, _within(wanted.spans) if cut else wanted.spans, single=wanted.single)
        return into(wanted.fields, kind, value, layouts) if wanted.fields else (kind, value)
    except DecodeError as error:
        return 0, Misfit(str(error))
    except LookupError as error:
        return 0, Complaint(error.args[0])


def _within(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return where the elements stand in an array that holds nothing else."""
    return tuple(Span(0, span.last - span.first) for span in spans)


def elements(kind: int, value: object, spans: tuple[Span, ...], *, single: bool) -> tuple[int, object]:
    """Return the named elements of an array; raises LookupError when it has none of them, or is no array."""
    if isinstance(value, bytes) and kind == _BYTES and len(spans) == 1:
        kind, value = _BYTE | _ARRAY, tuple(value)  # servers give an array of Byte in either form (OPC 10000-6, 5.2.2.16)
    if not isinstance(value, tuple) or not kind & _ARRAY:
        raise LookupError("the value is no array")
    taken = _taken(value, spans, spans)
    if not single:
        return kind, taken
    one: Any = taken
    for _ in spans:
        one = one[0]
    if type(one) is tuple:
        raise LookupError("the array has more dimensions than the index; give one number for each: 1,4")
    return kind & ~(_ARRAY | _MATRIX), one


def _taken(value: tuple[object, ...], spans: tuple[Span, ...], whole: tuple[Span, ...]) -> tuple[object, ...]:
    span, rest = spans[0], spans[1:]
    part = value[span.first : span.last + 1]
    if not part:
        raise LookupError(f"element {span_text(whole)} is outside: the array has {len(value)} elements")
    if not rest:
        return part
    if not all(type(row) is tuple for row in part):
        raise LookupError(f"{span_text(whole)} has more dimensions than the array")
    return tuple(_taken(row, rest, whole) for row in part if type(row) is tuple)


def into(fields: tuple[Field, ...], kind: int, value: object, layouts: Layouts) -> tuple[int, object]:
    """Return the field of a structure; raises LookupError when there is none, DecodeError when its type is another one now."""
    for step, field in enumerate(fields):
        if kind != STRUCTURE:
            where = ".".join(one.name for one in fields[:step]) or "the value"
            raise LookupError(f"{where} is {'an array: give its element' if kind & _ARRAY else 'no structure'}")
        decoded = opened(value, layouts)
        if field.name not in decoded:
            raise LookupError(f"the structure has no field {field.name}; it has {', '.join(decoded)}")
        kind, value = decoded[field.name]
        if kind == 0:
            return kind, value  # an optional field that is not there, or the other branch of a union
        if field.element:
            kind, value = elements(kind, value, field.element, single=True)
    if kind == STRUCTURE:
        raise LookupError(f"{fields[-1].name} is a structure; name one of its fields: {', '.join(opened(value, layouts))}")
    return kind, value


def opened(value: object, layouts: Layouts) -> Decoded:
    """Return a structure by its fields; raises DecodeError when its type is not known or does not fit."""
    if not isinstance(value, Structure):
        return value if isinstance(value, dict) else {}
    layout = layouts.get(value.encoding)
    if layout is None or value.body is None:
        raise DecodeError(f"a structure with the encoding {value.encoding}, whose type is not known")
    return layout(value.body)
