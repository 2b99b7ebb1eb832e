"""Why a text is no YAML: line, column, cause and remedy in words of the person who wrote it, not of the parser."""

from __future__ import annotations

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

_NO_COLON = "could not find expected ':'"


def why_not(error: Exception, text: str) -> tuple[tuple[int, int], str, str]:
    """Return the place (line and column, from 1), the message and the remedy for what the parser says of ``text``."""
    if isinstance(error, ReaderError) and 0 <= error.position < len(text):
        return _character(text, error.position)
    if not isinstance(error, MarkedYAMLError):
        return (1, 1), f"this is not YAML: {error}", ""
    problem = str(error.problem or error.context)
    begin = error.context_mark if problem == _NO_COLON else None  # the parser complains of the line behind
    mark = begin or error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    lines = text.splitlines()
    return place, *_words(problem, lines[place[0] - 1] if place[0] <= len(lines) else "")


def _character(text: str, position: int) -> tuple[tuple[int, int], str, str]:
    before = text[:position]
    return (
        (before.count("\n") + 1, position - before.rfind("\n")),
        f"the character U+{ord(text[position]):04X} cannot be seen and may not stand in YAML",
        "delete it, and write the place anew by hand: text that is copied from elsewhere may bring such characters along",
    )


def _words(problem: str, line: str) -> tuple[str, str]:
    """Return message and remedy for a ``problem`` of the parser at ``line``."""
    told = f"YAML cannot be understood here: {problem}"
    if "\t" in line:
        return "a tab stands where YAML allows only spaces", "indent with spaces"
    if "undefined alias" in problem:
        return "an alias (*name) is used; anchors and aliases are not supported", "write the value out"
    if problem == _NO_COLON:
        key, colon, value = line.strip().partition(":")
        if colon and value and not value.startswith(" "):
            return told, f"write a blank behind the colon: {key}: {value}"
        return told, "write `key: value`; check quotes and brackets on this line and the next"
    if "another document" in problem:
        return told, "a file is one document: delete the line ---, or make two files"
    if "mapping values are not allowed" in problem:
        return told, "check the indentation, or put quotes around a value that contains ': '"
    return told, "check indentation, brackets and quotes on this line and the one before"
