"""What is known about the servers that plants have: a table in the wheel, chosen by what a server says it is (pure)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

import msgspec

GENERIC: Final = "generic"


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to treat one family of servers; ``profiles.toml`` explains each member and gives the sources."""

    title: str
    browse: int
    read: int
    monitor: int
    translate: int
    serial: bool
    index_range: bool
    abreast: int = 1
    product: str = ""
    manufacturer: str = ""
    notes: tuple[str, ...] = ()


@cache
def profiles() -> Mapping[str, Profile]:
    """Return all profiles by their names, in the order in which they are tried."""
    text = resources.files(__package__).joinpath("profiles.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Profile])


def profile_for(product: object, manufacturer: object, wanted: str | None = None) -> tuple[str, Profile]:
    """Return name and profile of a server by its BuildInfo, or the ``wanted`` one.

    Anything but text in the BuildInfo is a server that does not say what it is. ``wanted`` is one of `profiles`.
    """
    known = profiles()
    if wanted is not None:
        return wanted, known[wanted]
    said = tuple(text if isinstance(text, str) else "" for text in (product, manufacturer))
    for name, profile in known.items():
        if name != GENERIC and all(
            re.search(expression, text, re.IGNORECASE)
            for expression, text in zip((profile.product, profile.manufacturer), said, strict=True)
        ):
            return name, profile
    return GENERIC, known[GENERIC]
