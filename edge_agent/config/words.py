"""Validation errors of pydantic in the words of the person who wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from edge_agent.config.source import old_word

_KINDS = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table of keys and values",
    "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values",
    "mapping_type": "a table of keys and values",
    "path_type": "a path",
}


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``did you mean 'host'?`` when one of ``known`` is near, else the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known here: {', '.join(names)}" if names else ""


def words(error: dict[str, Any], known: Iterable[str]) -> tuple[str, str]:
    """Return message and remedy for one pydantic error; ``known`` are the keys allowed where it happened."""
    kind, name, value = error["type"], _name(error["loc"]), error.get("input")
    if kind == "extra_forbidden":
        return f"unknown key '{name}'", did_you_mean(name, known)
    if kind == "missing":
        return f"the key '{name}' is missing", f"add `{name}: ...`"
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        ctx = error.get("ctx", {})
        key = str(ctx.get("discriminator", "driver")).strip("'")
        expected = str(ctx.get("expected_tags", "'modbus', 'opcua'"))
        if kind == "union_tag_not_found":
            return f"the key '{key}' is missing", f"add `{key}:` with one of {expected}"
        return f"{key} '{ctx.get('tag')}' is not known", did_you_mean(
            ctx.get("tag"), [tag.strip(" '") for tag in expected.split(",")]
        )
    if kind in _KINDS:
        remedy = f"put quotes around it: '{value}'" if kind == "string_type" and not isinstance(value, (dict, list)) else ""
        if kind.startswith("bool") and old_word(value):
            remedy = "write true or false; yes, no, on and off are plain words here"
        return f"{name}: {_shown(value)} is not {_KINDS[kind]}", remedy
    if kind in {"literal_error", "enum"}:
        expected = str(error.get("ctx", {}).get("expected", ""))
        return f"{name}: {_shown(value)} is not one of {expected}", did_you_mean(
            value, [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
        )
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    cause, _, remedy = message.partition("; ")
    return (f"{name}: {cause}" if name else cause), remedy


def _name(loc: tuple[Any, ...]) -> str:
    parts = [str(part) for part in loc if not isinstance(part, int)]
    return parts[-1] if parts else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
