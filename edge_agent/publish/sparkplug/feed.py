"""What an edge node tells: seen from the side of the node, which knows nothing of work units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from edge_agent.publish.sparkplug.metric import Change, Metric, Sample

Described = Sequence[tuple[Metric, Sample]]
"""Metrics with their present values."""


class News(msgspec.Struct, frozen=True):
    """Something to tell of a device: it has come (with everything there is), it has gone, or some of its values have changed."""

    what: Literal["birth", "death", "data"]
    device: str
    born: Described = ()
    changes: Sequence[Change] = ()


class Feed(Protocol):
    """The source of an edge node."""

    def now(self) -> int:
        """Return the time of what is sent now (UTC ns)."""
        ...

    def node(self) -> Described:
        """Return the metrics of the node itself."""
        ...

    async def births(self, *, again: bool) -> Sequence[News]:
        """Begin anew: return the births of all devices that are there; what happened before is history from now on.

        ``again``: on the same connection, so that what was told need not be told once more.
        """
        ...

    async def news(self) -> Sequence[News]:
        """Return what is to be told since the last call; empty when nothing is."""
        ...

    def told(self) -> None:
        """Take in that everything returned so far has left."""
        ...

    def place(self) -> Any:
        """Return how far it has been told."""
        ...

    def confirmed(self, place: Any) -> None:
        """Take in that the broker has everything up to ``place``."""
        ...
