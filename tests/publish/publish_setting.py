"""One agent with one unit: the names that the publishing tests share."""

from __future__ import annotations

import socket

from edge_agent.model.equipment import EquipmentPath
from edge_agent.ports import Document
from edge_agent.publish.topics import Topics

EPOCH = "01JB2K7Z0000000000000000XY"
TOPICS = Topics("edge", ("acme", "plant1"), "gw-l3")
STREAMS = {
    "filler": TOPICS.unit_stream("filler", EquipmentPath(("acme", "plant1", "packaging", "line3", "filler"))),
    "filler/telemetry": TOPICS.telemetry_stream("filler", EquipmentPath(("acme", "plant1", "packaging", "line3", "filler"))),
    "_agent/gw-l3": TOPICS.agent_stream("_agent/gw-l3"),
}
WILL = Document(TOPICS.status, b'{"status":"offline"}')


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
