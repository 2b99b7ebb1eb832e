"""Fault codes: for everything that goes wrong at run time its cause, how to look, and what to do. One table, `faults.toml`, feeds docs, commands and status."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry, in sentences for whoever stands at the line."""

    cause: str
    check: str
    remedy: str


@cache
def faults() -> Mapping[str, Fault]:
    """Return all entries by their code."""
    text = files("edge_agent.model").joinpath("faults.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Fault])


def explained(code: str) -> Fault | None:
    """Return the entry of a code with what it refers to written out ("See store_trouble."), None for an unknown code."""
    found = faults().get(code)
    if found is None:
        return None
    return Fault(*(_followed(getattr(found, part), part) for part in ("cause", "check", "remedy")))


def _followed(text: str, part: str) -> str:
    word = text.removeprefix("See ").removesuffix(".")
    target = faults().get(word) if text.startswith("See ") else None
    return text if target is None else _followed(getattr(target, part), part)
