"""From the fields of one event to a condition (pure). What is null, of another type or absurd is taken for not said; nothing here raises."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from edge_agent.drivers.opcua.eventfilter import FIELDS
from edge_agent.model.condition import Condition, Shelving

START, END, REQUIRED, OVERFLOW = "i=2787", "i=2788", "i=2789", "i=3035"
"""Types of the events that speak of the subscription itself (OPC 10000-9, 5.11; OPC 10000-5, 6.4.3)."""

_NULL_NODE: Final = "i=0"
_EARLIEST: Final = 946_684_800 * 10**9  # 2000-01-01, as for samples
_MOST_MESSAGE: Final = 2_000
_MOST_NAME: Final = 256
_MOST_KEY: Final = 400
_SHELVING: Final[dict[str, Shelving]] = {"i=2930": "none", "i=2932": "timed", "i=2933": "one_shot"}
_KINDS: Final = {
    "i=11164": "process", "i=11165": "maintenance", "i=11166": "system", "i=17218": "safety", "i=17219": "highly_managed",
}  # fmt: skip


class Event(NamedTuple):
    """One event by the names of `FIELDS`, as it came."""

    fields: dict[str, object]

    @property
    def type(self) -> str:
        """Its type as the server numbers it now."""
        said = self.fields.get("event_type")
        return said if isinstance(said, str) else ""

    @property
    def condition_id(self) -> str | None:
        """The condition that it is of; None where it is of none."""
        return _node(self.fields.get("condition_id"))


def event_of(values: object) -> Event | None:
    """Return the fields of one event by name; None when they are not as many as were asked for."""
    if not isinstance(values, tuple) or len(values) != len(FIELDS):
        return None
    return Event(dict(zip(FIELDS, values, strict=True)))


def condition_of(event: Event, namespaces: Sequence[str], *, latest: int, severity_min: int) -> Condition:
    """Return what an event says; times after ``latest`` (UTC ns) are not believed, and node ids get the URI of their namespace."""
    said = event.fields
    ident, branch = event.condition_id, _node(said["branch"])
    source_node = _node(said["source_node"])
    source, name = _text(said["source"], _MOST_NAME), _text(said["name"], _MOST_NAME)
    where = ident or f"{event.type}|{source_node or ''}"
    key = _bounded(_with_uri(where, namespaces) + (f"#{_with_uri(branch, namespaces)}" if branch else ""))
    severity = said["severity"]
    severity = min(max(severity, 1), 1000) if type(severity) is int else 1
    active, enabled, retain = _flag(said["active"]), _flag(said["enabled"]), _flag(said["retain"])
    quality = said["quality"]
    return Condition(
        key,
        # What is not retained is of no interest any more, as a branch that was acknowledged, though its active state stays (OPC 10000-9, B.1.3).
        active=enabled is not False and retain is not False and bool(retain if active is None else active),
        severity=severity,
        event_type=_bounded(_with_uri(event.type, namespaces)),
        source=source,
        source_node=None if source_node is None else _bounded(_with_uri(source_node, namespaces)),
        name=name,
        time=_instant(said["time"], latest),
        since=_instant(said["since"], latest),
        message=_text(said["message"], _MOST_MESSAGE),
        acked=_flag(said["acked"]),
        confirmed=_flag(said["confirmed"]),
        suppressed=_flag(said["suppressed"]),
        shelved=_SHELVING.get(_node(said["shelved"]) or ""),
        kind=_KINDS.get(_node(said["kind"]) or ""),
        by=_text(said["by"], _MOST_NAME),
        comment=_text(said["comment"], _MOST_MESSAGE),
        good=not (type(quality) is int and quality >> 30 & 3),
        minor=severity < severity_min,
        momentary=ident is None,
        of=_bounded(_with_uri(where, namespaces)) if branch else None,
    )


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _instant(value: Any, latest: int) -> int | None:
    return value if type(value) is int and _EARLIEST <= value <= latest else None


def _node(value: object) -> str | None:
    return value if isinstance(value, str) and value not in {"", _NULL_NODE} else None


def _text(value: object, most: int) -> str | None:
    """Return a bounded text that JSON can carry: bytes that are no UTF-8 came as lone surrogates."""
    if not isinstance(value, str) or not value:
        return None
    text = value[: most + 1].encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _bounded(key: str) -> str:
    """Return an identity of bounded length: what is too long keeps its beginning and a hash of all of it."""
    clean = key.encode("utf-8", "replace").decode()
    if len(clean) <= _MOST_KEY and "\n" not in clean:
        return clean
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{clean[:_MOST_KEY]}~{digest}".replace("\n", " ")


def _with_uri(node: str, namespaces: Sequence[str]) -> str:
    """Return a node id with the URI of its namespace, which stays when the number moves."""
    space, found, rest = node.partition(";")
    if not found or not space.startswith("ns="):
        return node
    try:
        return f"nsu={namespaces[int(space[3:])]};{rest}"
    except (ValueError, IndexError):
        return node
