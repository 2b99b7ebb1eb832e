"""Topics and identifiers of an edge node. Pure. Specification chapter 4."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
BDSEQ = "bdSeq"
_RESERVED = frozenset("+/#%")


def identifier(text: str) -> str:
    """Return ``text`` as a Sparkplug id: ``+ / #``, ``%`` and control characters percent-encoded (tck-id-topic-structure-namespace-valid-...)."""
    return "".join(c if c.isprintable() and c not in _RESERVED else quote(c.encode(errors="replace"), safe="") for c in text)


class Node(msgspec.Struct, frozen=True):
    """An edge node: ``group`` and ``name`` together are unique in the plant; both are ids already."""

    group: str
    name: str

    def topic(self, verb: str, device: str | None = None) -> str:
        """Return the topic of a message; ``verb`` begins with D exactly where a ``device`` is named."""
        tail = "" if device is None else f"/{device}"
        return f"{NAMESPACE}/{self.group}/{verb}/{self.name}{tail}"


def state_topic(host: str) -> str:
    """Return where the primary host says whether it is there."""
    return f"{NAMESPACE}/STATE/{host}"
