"""What of a server could be tags: walked, described and read once, for ``edge-agent browse``. Nothing is subscribed, nothing written."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from asyncua import ua

from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua.config import OpcUaConfig, TagsFrom, tags_of
from edge_agent.drivers.opcua.describe import Described, describe, shown
from edge_agent.drivers.opcua.expand import Wanted, expand
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.opening import session_with
from edge_agent.drivers.opcua.session import MANUFACTURER, PRODUCT, SOFTWARE, Session
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.ports import Identity, PlantClock

Progress = Callable[[str], None]


class Candidate(NamedTuple):
    """A value that can be a tag: what to write, and what to say about it. ``declared``: a tag has it already."""

    name: str
    node: str
    field: str
    type: str | None
    names: tuple[tuple[int, str], ...]
    path: str
    shown: str
    usable: bool
    declared: bool
    uom: str


class Survey(NamedTuple):
    """What was found. ``server`` says what it is, ``profile`` how it is treated; ``cut`` why something is missing."""

    server: str
    profile: str
    notes: tuple[str, ...]
    candidates: list[Candidate]
    seen: int
    cut: tuple[str, ...]


async def survey(
    config: OpcUaConfig,
    rules: Sequence[TagsFrom],
    clock: PlantClock,
    progress: Progress,
    *,
    declared: bool = True,
    identity: Identity | None = None,
) -> Survey:
    """Return the values that the rules name. ``declared``: the tags of ``config`` are real ones, and are looked up.

    ``identity`` is who asks, where the connection is to be secured.

    Raises DisconnectedError, ConfigError.
    """
    progress(f"connecting to {config.url}")
    async with session_with([config], clock, identity=identity) as session:
        known = await _known(session, config) if declared else {}
        found: dict[str, Wanted] = {}
        cut, seen = [], 0
        for rule in rules:
            wanted, tree = await expand(
                session,
                rule,
                lambda looked, nodes, found: progress(f"{looked:,} of {nodes:,} nodes looked into, {found:,} variables"),
            )
            found.update({text_of(one.found.node): one for one in wanted if text_of(one.found.node) not in found})
            seen += tree.seen
            cut += [f"{rule.browse}: {tree.cut}"] if tree.cut else []
        inner = {each.found.path[:-1] for each in found.values()}
        one = [each for each in found.values() if each.found.path not in inner]  # its parts are its values
        progress(f"{len(one):,} variables, reading their types and values")
        described = await describe(session, [each.found.node for each in one], [each.found.definition for each in one])
        taken = set(config.tags) if declared else set()
        candidates = [_candidate(session, one[each.place], each, known, taken) for each in described]
        said = [str(session.facts.get(fact) or "") for fact in (MANUFACTURER, PRODUCT, SOFTWARE)]
        server = " ".join(text for text in said if text) or "a server that does not say what it is"
        return Survey(server, session.profile_name, session.profile.notes, candidates, seen, tuple(cut))


async def _known(session: Session, config: OpcUaConfig) -> dict[str, set[str]]:
    """Return the nodes that tags have already, with the fields that they take ("" = the value or an element of it)."""
    items = [Item(place, tag, config.tags[tag.name]) for place, tag in enumerate(tags_of(config))]
    await items_of.resolve(session, items, config)
    known: dict[str, set[str]] = {}
    for item in items:
        if item.node is not None:
            known.setdefault(text_of(item.node), set()).add(config.tags[item.tag.name].field or "")
    return known


def _candidate(session: Session, wanted: Wanted, described: Described, known: dict[str, set[str]], taken: set[str]) -> Candidate:
    node = address_of(wanted.found.node, session.namespaces)
    path = "/".join(wanted.found.path) + (f".{described.field}" if described.field else "")
    fields = known.get(text_of(wanted.found.node), set())
    name = wanted.name if not described.field else _field_name(wanted.name, described.field)
    is_declared = described.field in fields
    if not is_declared:
        if name in taken:
            name = f"{name[:57]}_{hashlib.sha256(f'{node} {described.field}'.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
        taken.add(name)
    return Candidate(
        name, node, described.field, described.type, tuple(sorted(described.names.items())), path, shown(described), described.usable,
        is_declared, described.uom,
    )  # fmt: skip


def _field_name(name: str, field: str) -> str:
    whole = name + "_" + "".join(char if char.isascii() and (char.isalnum() or char in "_-") else "_" for char in field)
    return whole if len(whole) <= 64 else f"{whole[:57]}_{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def address_of(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """Return a node id as a tag has it: with its namespace's URI where that can be written, else with its index."""
    index, identifier = node.NamespaceIndex, node.Identifier
    uri = namespaces[index] if 0 < index < len(namespaces) else ""
    where = f"nsu={uri};" if uri and ";" not in uri else f"ns={index};"
    if isinstance(identifier, bytes):
        return f"{where}b={base64.b64encode(identifier).decode()}"
    return f"{where}{ {int: 'i', str: 's'}.get(type(identifier), 'g') }={identifier}"
