"""What a scalar of YAML 1.2 says (pure)."""

from __future__ import annotations

import re
from typing import Any

_INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$|^0x[0-9a-fA-F]+$|^0o[0-7]+$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_OLD_WORDS = {"yes", "no", "on", "off", "y", "n"}


def whole(text: str) -> str | None:
    """Return a text with the two halves of a character joined, None where one stands alone.

    YAML takes over the escapes of JSON (YAML 1.2.2, 5.7), which writes what is beyond U+FFFF as two (RFC 8259, 7); bytes of the environment that are
    no UTF-8 come as such halves, too.
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def resolve(text: str) -> Any:
    """Return a plain scalar by the core schema of YAML 1.2; what looks like YAML 1.1 (``no``, ``010``, ``12:30``) stays text."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    if _INT.match(text):
        return int(text, 0)
    if text.lower() == ".nan":
        return float("nan")
    if text.lower().lstrip("+-") == ".inf":
        return float("-inf") if text.startswith("-") else float("inf")
    if _FLOAT.match(text) and not re.match(r"^[-+]?0[0-9]", text):
        return float(text)
    return text


def old_word(value: object) -> bool:
    """Return whether ``value`` is a word that YAML 1.1 took for a boolean: worth a hint where a boolean was wanted."""
    return isinstance(value, str) and value.lower() in _OLD_WORDS
