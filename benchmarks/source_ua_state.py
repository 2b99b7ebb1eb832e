"""What the benchmark's OPC UA source has and has produced, and the nodes that every server has (OPC 10000-5, 6.3)."""

from __future__ import annotations

import struct
import time
from typing import Any

from benchmarks.source_ua_session import Certificate
from benchmarks.source_ua_wire import octets, ticks, u32

URI = "urn:edge-agent:bench"


class Source:
    """The tags, who is connected, and what was produced."""

    def __init__(self, tags: int, rate: float, *, polled: bool, changing: int, certificate: Certificate | None) -> None:
        self.tags, self.rate, self.polled, self.changing, self.certificate = tags, rate, polled, changing, certificate
        self.port = 0
        self.produced = self.count = 0
        self.stamp = time.time_ns()
        self.links: set[Any] = set()
        self.started = self.stamp

    def figures(self) -> dict[str, Any]:
        """Return samples produced so far, and how many messages wait for somebody to ask for them."""
        return {"produced": self.produced, "waiting": sum(len(link.ready) for link in self.links), "count": self.count}

    def standard(self, number: int | str) -> bytes | None:
        """Return the DataValue of a node that every server has."""
        now = time.time_ns()
        texts = b"".join(octets(uri.encode()) for uri in ("http://opcfoundation.org/UA/", URI))
        known = {
            2255: b"\x8c" + u32(2) + texts,
            2257: b"\x0d" + struct.pack("<q", ticks(self.started)),
            2258: b"\x0d" + struct.pack("<q", ticks(now)),
            2259: b"\x06" + u32(0),
        }
        found = known.get(int(number)) if isinstance(number, int) else None
        return None if found is None else b"\x0d" + found + struct.pack("<qq", ticks(now), ticks(now))
