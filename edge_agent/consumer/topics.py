"""The topics of the published contract, as a consumer sees them. Pure.

``{root}/v1/{levels}/_event`` and ``_meta`` of units; ``{root}/v1/{site}/_agent/{agent}/status``, ``checkpoint/{stream}``, ``confirmed/{stream}``
and ``cmd/resend`` of agents. What is in a level is percent-encoded.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec

DEEPEST = 8
"""Levels of the equipment path that are subscribed to."""

_RESERVED = frozenset("+#/$%")
_SOURCE_SAFE = "-._~:@!$&'()*+,;="


class Place(msgspec.Struct, frozen=True):
    """What a topic is: ``kind`` event, meta, status, checkpoint or reply; ``base`` is the part before it, ``name`` what stands behind."""

    kind: str
    base: str = ""
    name: str = ""


def filters(root: str) -> list[str]:
    """Return what to subscribe to: events and descriptions in any depth, but no telemetry, so that the broker need not keep that for us."""
    wanted = []
    for depth in range(1, DEEPEST + 1):
        base = "/".join((root, "v1", *"+" * depth))
        wanted += [f"{base}/_event/#", f"{base}/_meta"]  # '#' includes the level above it (MQTT 5, 4.7.1.2)
    for depth in range(DEEPEST):
        base = "/".join((root, "v1", *"+" * depth, "_agent", "+"))
        wanted += [f"{base}/status", f"{base}/checkpoint/+"]
    return wanted


def place(topic: str) -> Place | None:
    """Return what ``topic`` is, None for one that says nothing to us."""
    before, found, behind = topic.partition("/_event")
    if found and (not behind or behind.startswith("/")):
        return Place("event", before)
    if topic.endswith("/_meta"):
        return Place("meta", topic.removesuffix("/_meta"))
    if topic.endswith("/status") and "/_agent/" in topic:
        return Place("status", topic.removesuffix("/status"))
    before, found, behind = topic.partition("/checkpoint/")
    if found and "/_agent/" in before:
        return Place("checkpoint", before, unquote(behind))
    return None


def prefix(base: str, root: str) -> str:
    """Return how the sources of an agent's streams begin, from the base of its topics: ``/acme/plant1/gw-l3``."""
    levels = base.removeprefix(f"{root}/v1/").split("/")
    site, agent = levels[:-2], levels[-1]
    return "/" + "/".join(quote(unquote(level), safe=_SOURCE_SAFE) for level in (*site, agent))


def subject(base: str, root: str) -> str:
    """Return the subject of a unit's events from the base of its topics."""
    return "/".join(unquote(level) for level in base.removeprefix(f"{root}/v1/").split("/"))


def source(agent: str, stream: str) -> str:
    """Return the CloudEvents source of ``stream`` of the agent whose sources begin with ``agent``."""
    return "/".join((agent, *(quote(part, safe=_SOURCE_SAFE) for part in stream.split("/"))))


def stream(source: str, agent: str) -> str:
    """Return the name that the agent gives the stream."""
    return "/".join(unquote(part) for part in source.removeprefix(f"{agent}/").split("/"))


def confirmed(base: str, name: str) -> str:
    """Return where a consumer retains up to which number it has applied the stream ``name``."""
    safe = "".join(c if c.isprintable() and c not in _RESERVED else quote(c.encode(errors="replace"), safe="") for c in name)
    return f"{base}/confirmed/{safe}"
