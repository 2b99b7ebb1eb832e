"""Takes secrets out of text that leaves the gateway: by the keys that they stand behind, by what they look like, and by their very values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

MASK = "***"
_LONG = r"(?:pass(?:word|wort|phrase|wd|code)|kennwort|secret|token|credentials?|api[_-]?key|private[_-]?key)"
_SHORT = r"(?:pass|psk|pin)"  # parts of many harmless words: only as words of their own
_WORD = rf"(?:[A-Za-z0-9_-]*{_LONG}|(?:[A-Za-z0-9_-]*[_-])?{_SHORT})"
_KEY = re.compile(rf"(?i)((?<![A-Za-z0-9_-])[\"']?{_WORD}[\"']?[ \t]*[:=][ \t]*)([^\n]*)")
_INLINE_END = re.compile(r"[,}\]](?=\s|$|[\"'A-Za-z_])")
_REFERENCE = re.compile(r"[\"']?\$\{(?:file:[^}]+|[A-Za-z_][A-Za-z0-9_]*)\}[\"']?")
_USER_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s/@:'\"]*):(?P<word>[^\s/@'\"]+)@")
_PEM = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY[A-Z ]*)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}")
_SECRET_NAME = re.compile(rf"(?i)^{_WORD}$")
_SHORTEST = 4
"""Characters of a value that is looked for everywhere: shorter ones would be found in every second word."""


class Masker:
    """Knows the values that must not be seen."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Hide ``values``, as they are and as they stand in URLs."""
        wanted = {form for value in values if len(value) >= _SHORTEST for form in (value, quote(value, safe=""), repr(value)[1:-1])}
        self._values = sorted(wanted, key=len, reverse=True)  # a value that holds another one goes first

    def text(self, text: str) -> str:
        """Return text without secrets."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = _PEM.sub(MASK, text)
        text = _USER_IN_URL.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    """Mask what stands behind keys of secrets, also when it goes on in deeper lines below them."""
    deeper: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if deeper is not None and (not line.strip() or indent > deeper):
            continue
        deeper = None
        masked = _KEY.sub(_masked, line)
        if masked != line and (re.search(r"[:=]\s*(\*\*\*)\s*$", masked) or masked.rstrip().endswith(MASK)):
            deeper = indent
        yield masked


def _masked(match: re.Match[str]) -> str:
    key, rest = match[1], match[2]
    if re.search(r"(?i)_file[\"']?[ \t]*[:=]", key) or not rest.strip():
        return match[0] if rest.strip() or "=" in key else f"{key}{MASK}"
    value, tail = _split(rest)
    tail = "" if tail.lstrip().startswith("#") else _KEY.sub(_masked, tail)  # a comment beside a secret may hold the old one
    return f"{key}{value}{tail}" if _REFERENCE.fullmatch(value.strip()) else f"{key}{MASK}{tail}"


def _split(rest: str) -> tuple[str, str]:
    """Return a value and what stands behind it in a line of braces; a value in quotes ends with them."""
    if rest[:1] in {'"', "'"}:
        end = rest.find(rest[0], 1)
        return (rest, "") if end < 0 else (rest[: end + 1], rest[end + 1 :])
    if reference := re.match(r"\$\{[^}]*\}", rest):
        return rest[: reference.end()], rest[reference.end() :]
    found = _INLINE_END.search(rest)
    return (rest, "") if found is None else (rest[: found.start()], rest[found.start() :])


def secrets_of(model: object, environment: Mapping[str, str] = os.environ) -> set[str]:
    """Return every secret that a configuration knows: its own, those in the files that it names, and those in the environment."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name) and not name.lower().endswith("_file")}
    found |= set(_in(model))
    return {value.strip() for value in found if value.strip()}


def _in(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for key in type(value).model_fields:
            yield from _in(getattr(value, key), key)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _in(each, str(key))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _in(each, name)
    elif isinstance(value, Path) and name.endswith(("password_file", "token_file")):
        yield from _content(value)


def _content(file: Path) -> Iterator[str]:
    try:
        yield from (line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip())
    except OSError:
        return  # what this user cannot read does not come into the bundle by this user either
