"""Addresses of OPC UA nodes as users write them, parsed without a server: node ids and browse paths (pure).

A namespace is a URI (``nsu=``), an index (``ns=``) or not named; the index of a URI is known only from the server's
NamespaceArray and may change with every restart, so it is looked up on each connect.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from typing import NamedTuple

_ID = re.compile(r"^(?:(?:nsu=(?P<uri>[^;]+)|ns=(?P<index>\d{1,5}));)?(?P<kind>[isgb])=(?P<id>.+)$", re.DOTALL)
_STEP = re.compile(r"^(?:nsu=(?P<uri>[^;]+);|(?P<index>\d{1,5}):)?+(?P<name>.+)$", re.DOTALL)
_SEGMENT = re.compile(r"(?:nsu=[^;]+;)?(?:&.|[^/&])+", re.DOTALL)
_MAX_INDEX = 65_535

Identifier = int | str | bytes | uuid.UUID


class NodeAddress(NamedTuple):
    """A node id (OPC 10000-6, 5.3.1.10). ``namespace`` is a URI, an index, or None for the device's default."""

    namespace: str | int | None
    identifier: Identifier


class Step(NamedTuple):
    """One browse name of a path. ``namespace`` as in `NodeAddress`."""

    namespace: str | int | None
    name: str


def _namespace(match: re.Match[str], text: str) -> str | int | None:
    """Return the URI or index of a match; raises ValueError for an index that does not fit 16 bits."""
    if match["index"] is None:
        return match["uri"]
    index = int(match["index"])
    if index > _MAX_INDEX:
        raise ValueError(f"namespace index {index} in {text!r} is above 65535")
    return index


def parse_node(text: str) -> NodeAddress:
    """Return the node id written as ``s=Name``, ``ns=2;i=5`` or ``nsu=urn:x;s=Name``; raises ValueError with the remedy."""
    match = _ID.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a node id; write s=Name, i=1234, ns=2;s=Name or nsu=urn:vendor;s=Name")
    namespace = _namespace(match, text)
    try:
        return NodeAddress(namespace, _identifier(match["kind"], match["id"]))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{text!r} has no valid {match['kind']}= identifier: {error}") from None


def _identifier(kind: str, text: str) -> Identifier:
    if kind == "s":
        return text
    if kind == "g":
        return uuid.UUID(text)
    if kind == "b":
        return base64.b64decode(text, validate=True)
    number = int(text)
    if not 0 <= number < 1 << 32:
        raise ValueError("a number is 0 to 4294967295")
    return number


def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of ``Objects/2:Line/nsu=urn:x;Filler``; ``&`` escapes the character after it (OPC 10000-4, A.2).

    The path starts at the Objects folder (i=85), named or not. Raises ValueError with the remedy.
    """
    body = text.strip("/")
    segments = _SEGMENT.findall(body)
    if not segments or "/".join(segments) != body:
        raise ValueError(f"{text!r} is not a browse path; write Objects/2:Line/2:Speed or Objects/nsu=urn:vendor;Line")
    steps = [_step(segment, text) for segment in segments]
    for folder in ("Root", "Objects"):
        if steps and steps[0].name == folder and steps[0].namespace in {None, 0}:
            steps = steps[1:]
    if not steps:
        raise ValueError(f"{text!r} names no node below Objects; add the names of the folders and of the variable")
    return tuple(steps)


def _step(segment: str, text: str) -> Step:
    match = _STEP.match(segment)
    if match is None:
        raise ValueError(f"{segment!r} in {text!r} has no name")
    if match["name"].startswith("nsu="):
        raise ValueError(
            f"{segment!r} in {text!r} has no ';' behind the URI; write nsu=urn:vendor;Name (&nsu=... where the name itself begins so)"
        )
    return Step(_namespace(match, text), re.sub(r"&(.)", r"\1", match["name"], flags=re.DOTALL))
