"""Reasons as machines give them: a code, and what a table says that it means (inline or as CSV). A code that no table knows has no words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.events.codes import UNKNOWN, Code, CodeTable, Meaning, TableFile

Words = dict[Code, str] | TableFile
"""What codes mean: ``{1: Underfill}``, or the path of a CSV file."""


def meanings(words: Mapping[Code, str] | CodeTable, language: str | None = None) -> Mapping[Code, Meaning]:
    """Return what each code means, in the words of ``language`` where a file has them."""
    return words.meanings(language) if isinstance(words, CodeTable) else {code: Meaning(text) for code, text in words.items()}


def reason_of(code: Code | None, known: Mapping[Code, Meaning], source: str) -> dict[str, Any]:
    """Return a reason as events carry it: code, text, source, and the MES's code and category where the table has them."""
    meaning = UNKNOWN if code is None else known.get(code, UNKNOWN)
    return {"code": code, "text": meaning.text, "source": source, **meaning.more}
