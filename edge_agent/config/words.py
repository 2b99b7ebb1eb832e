"""Validation errors of pydantic in the words of the person who wrote the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from edge_agent.config.scalar import old_word

_COMMA = re.compile(r"[-+]?\d+,\d+")

KINDS = {
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
"""What a value is not, in words."""


_PATTERNS = {
    r"^[^\s/]+$": ("is no host name or IP address", "write the name or address alone: no protocol, no path, no blanks"),
    r"^[A-Za-z0-9][A-Za-z0-9_-]*$": ("cannot be a name", "use letters, digits, '_' and '-', beginning with a letter or digit"),
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": (
        "cannot be a name",
        "use letters, digits, '.', '_' and '-', beginning with a letter or digit",
    ),
    r"^[A-Za-z0-9._-]+$": ("cannot be a name", "use letters, digits, '.', '_' and '-'"),
    r"^[^+#/$\x00]+$": ("cannot be a level of a topic", "leave out + # / $"),
    r"^[^+#\x00]{1,512}$": ("is no topic to listen to", "name one topic, without the wildcards + and #"),
    r"^[a-z0-9]+(\.[a-z0-9]+)*$": ("cannot begin an event type", "use small letters and digits, with single dots between"),
}
"""What the patterns of the configuration ask for, in words."""

_SECRETS = frozenset({"password"})
"""Keys whose values are shown to nobody."""

_LIMITS = {
    "greater_than": ("gt", "is not greater than {}", "write a number greater than {}"),
    "greater_than_equal": ("ge", "is less than {}", "write {} or more"),
    "less_than": ("lt", "is not less than {}", "write a number less than {}"),
    "less_than_equal": ("le", "is more than {}", "write {} or less"),
    "string_too_short": ("min_length", "is too short", "write at least {} character(s)"),
    "string_too_long": ("max_length", "is too long", "write at most {} characters"),
    "too_short": ("min_length", "has too few items", "write at least {}"),
    "too_long": ("max_length", "has too many items", "write at most {}"),
}
"""What the bounds of pydantic ask for: where the bound stands, the cause and the remedy."""


_OTHERWISE = {
    "poll": "sampling", "interval": "poll", "sampling": "poll", "ip": "host", "address": "host", "hostname": "host", "slave": "unit_id",
    "slave_id": "unit_id", "unit": "unit_id", "endpoint": "url", "node_id": "node", "nodeid": "node", "datatype": "type", "data_type": "type",
    "units": "uom", "engineering_unit": "uom", "user": "username", "factor": "scale", "gain": "scale", "byte_order": "word_order",
}  # fmt: skip
"""What other products call a key, and what it is called here."""

_TYPES = {
    "word": "uint16", "dword": "uint32", "lword": "uint64", "int": "int16", "dint": "int32", "lint": "int64", "uint": "uint16", "udint": "uint32",
    "real": "float32", "lreal": "float64", "float": "float32", "double": "float64", "short": "int16", "long": "int32", "boolean": "bool", "text": "string",
}  # fmt: skip
"""What types are called in IEC 61131-3 and elsewhere, and what they are called here."""


_ADD_VERSION = "add `version: 1`; a file of an older version: edge-agent migrate"
_SHORTEST = "the shortest interval is "


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``did you mean 'host'?`` when one of ``known`` is near, else the list of what is known."""
    names = sorted(known)
    same = [name for name in names if name.lower() == str(word).lower()]
    near = same or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known here: {', '.join(names)}" if names else ""


def words(error: dict[str, Any], known: Iterable[str]) -> tuple[str, str]:
    """Return message and remedy for one pydantic error; ``known`` are the keys allowed where it happened."""
    kind, name, value = error["type"], _name(error["loc"]), error.get("input")
    if kind == "extra_forbidden":
        return _unknown(name, set(known))
    if kind == "missing":
        return f"the key '{name}' is missing", f"add `{name}: ...`" if name != "version" else _ADD_VERSION
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        ctx = error.get("ctx", {})
        key = str(ctx.get("discriminator", "driver")).strip("'")
        expected = str(ctx.get("expected_tags", "'modbus', 'opcua'"))
        if kind == "union_tag_not_found":
            return f"the key '{key}' is missing", f"add `{key}:` with one of {expected}"
        return f"{key} '{ctx.get('tag')}' is not known", did_you_mean(
            ctx.get("tag"), [tag.strip(" '") for tag in expected.split(",")]
        )
    if kind in KINDS:
        return _another_kind(kind, name, value)
    if kind in {"literal_error", "enum"}:
        return _choice(name, value, str(error.get("ctx", {}).get("expected", "")))
    if name == "address" and kind == "less_than_equal":
        return (
            f"{name}: {_shown(value)} is more than an address can be",
            f"a number of the vendor's table is a ref: write ref: {value}",
        )
    if (told := _bounds(kind, error.get("ctx", {}))) is not None:
        return f"{name}: {_shown(value)} {told[0]}", told[1]
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    cause, _, remedy = message.partition("; ")
    if not remedy and cause.startswith(_SHORTEST):
        remedy = f"write {cause.removeprefix(_SHORTEST)} or more"
    return (f"{name}: {cause}" if name else cause), remedy


def _unknown(name: str, known: set[str]) -> tuple[str, str]:
    """Return message and remedy for a key that there is not."""
    ours = _OTHERWISE.get(name.lower())
    if ours in known and not difflib.get_close_matches(name, known, n=1):
        return f"unknown key '{name}'", f"it is called '{ours}' here"
    return f"unknown key '{name}'", did_you_mean(name, known)


def _choice(name: str, value: object, expected: str) -> tuple[str, str]:
    """Return message and remedy where the value is none of those ``expected`` ("'a', 'b' or 'c'")."""
    choices = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    message = f"{name}: {_shown(value)} is not one of {expected}"
    if name == "version" and isinstance(value, str):
        return message, "write version: 1, the number alone, without quotes"
    if name == "version":
        return message, "an older file: edge-agent migrate; a newer one: a newer edge-agent"
    if name == "type" and (ours := _TYPES.get(str(value).lower())) in choices:
        return message, f"write {ours}"
    return message, did_you_mean(value, choices + ["big", "little"] * ("ABCD" in choices))


def _another_kind(kind: str, name: str, value: object) -> tuple[str, str]:
    """Return message and remedy where the value is of another kind than the key takes; a secret is not shown."""
    if name in _SECRETS:
        return f"{name}: the value is not {KINDS[kind]}", "put quotes around it"
    remedy = f"put quotes around it: '{value}'" if kind == "string_type" and not isinstance(value, (dict, list)) else ""
    if KINDS[kind] == "a list" and isinstance(value, (str, int, float)):
        remedy = f"put brackets around it: [{value}]"
    if KINDS[kind].endswith("number") and isinstance(value, str) and _COMMA.fullmatch(value):
        remedy = f"write {value.replace(',', '.')}: the decimal sign is a point"
    if KINDS[kind] == "a table of keys and values" and isinstance(value, list):
        remedy = "write `name: ...` for each, without the dash"
    if kind.startswith("bool") and old_word(value):
        remedy = "write true or false; yes, no, on and off are plain words here"
    return f"{name}: {_shown(value)} is not {KINDS[kind]}", remedy


def _bounds(kind: str, ctx: dict[str, Any]) -> tuple[str, str] | None:
    """Return cause and remedy of a pattern or limit that is not kept, None for another kind of error."""
    if kind == "string_pattern_mismatch":
        pattern = str(ctx.get("pattern"))
        return _PATTERNS.get(pattern, (f"does not have the form {pattern}", ""))
    if kind in _LIMITS:
        key, cause, remedy = _LIMITS[kind]
        return cause.format(ctx.get(key)), remedy.format(ctx.get(key))
    if kind == "finite_number":
        return "is no number to calculate with", "write a finite number"
    return None


def _name(loc: tuple[Any, ...]) -> str:
    parts = [str(part) for part in loc if not isinstance(part, int) and part != "[key]"]
    return parts[-1] if parts else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
