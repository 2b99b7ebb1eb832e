"""References from a unit to tags: ``device.tag``, checked when the rules are built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from edge_agent.model.reading import Tag


def check_references(wanted: Iterable[tuple[str, str | None]], tags: Mapping[str, Tag]) -> None:
    """Raise ValueError for the first (place, reference) whose reference is no tag of any device; None references are left out.

    The text names the place in the unit's file, the reference, and the tag that was probably meant.
    """
    for place, ref in wanted:
        if ref is None or ref in tags:
            continue
        near = get_close_matches(ref, tags, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "tags are named device.tag"
        raise ValueError(f"{place}: no device has a tag '{ref}'; {hint}")


def device_of(ref: str) -> str:
    """Return the device of ``device.tag``."""
    return ref.partition(".")[0]


def name_of(ref: str) -> str:
    """Return the tag's name inside its device."""
    return ref.partition(".")[2]
