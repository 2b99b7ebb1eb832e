"""``tags_from``: which variables of the server it names now, and which of them the configuration does not have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from edge_agent.drivers.opcua.config import TagsFrom
from edge_agent.drivers.opcua.glob import Pattern, tag_names
from edge_agent.drivers.opcua.session import Session
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.drivers.opcua.walk import Found, Limits, Progress, Tree, walk
from edge_agent.model.reading import Undeclared

_NAMED: Final = 20


class Wanted(NamedTuple):
    """A variable that a rule names, and what its tag is called."""

    name: str
    found: Found


async def expand(session: Session, rule: TagsFrom, progress: Progress | None = None) -> tuple[list[Wanted], Tree]:
    """Return the variables that the rule names, and the walk. Raises DisconnectedError.

    A variable that has variables below itself is left out: its parts are its values.
    """
    tree = await walk(session, Pattern(rule.browse), Limits(rule.depth, rule.max_tags, wants(rule)), progress)
    kept = [one for one in tree.found if not one.parent]
    names = tag_names([one.path for one in kept], rule.names, rule.prefix)
    return [Wanted(name, found) for name, found in zip(names, kept, strict=True)], tree


def wants(rule: TagsFrom) -> Callable[[tuple[str, ...]], bool]:
    """Return the test of ``include`` and ``exclude``."""
    include, exclude = [Pattern(text) for text in rule.include], [Pattern(text) for text in rule.exclude]
    return lambda path: (
        (not include or any(pattern.matches(path) for pattern in include)) and not any(pattern.matches(path) for pattern in exclude)
    )


async def undeclared(session: Session, device: str, rules: Sequence[TagsFrom], nodes: set[str], time: int) -> Undeclared:
    """Compare the rules with the ``nodes`` (as text) that tags have now; the notice says what is not declared. Raises DisconnectedError."""
    missing: dict[str, str] = {}
    cuts = []
    for rule in rules:
        wanted, tree = await expand(session, rule)
        missing |= {text_of(one.found.node): "/".join(one.found.path) for one in wanted if text_of(one.found.node) not in nodes}
        if tree.cut:
            cuts.append(f"{rule.browse}: {tree.cut}")
    paths = tuple(sorted(missing.values()))
    what = (
        "1 variable that tags_from names is no tag"
        if len(paths) == 1
        else f"{len(paths)} variables that tags_from names are no tags"
    )
    told = [f"{what}: {', '.join(paths[:_NAMED])}" if paths else "every variable that tags_from names is a tag"]
    return Undeclared(device, time, paths[:_NAMED], len(paths), "; ".join([*told, *cuts]))
