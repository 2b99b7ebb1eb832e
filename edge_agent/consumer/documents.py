"""The retained documents beside the events: an agent's status, the checkpoints of its streams, the description of a unit."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_agent.consumer.event import micros
from edge_agent.consumer.row import Cells, Row, text
from edge_agent.model.outside import from_json


class Checkpoint(msgspec.Struct):
    """How far a stream is: numbered up to ``last_seq``, sent up to ``published_seq``; ``watermark``: nothing earlier follows unless flagged late."""

    epoch: str
    last_seq: int
    published_seq: int
    time: str
    watermark: str | None = None
    stream: str = ""
    totals: dict[str, Any] = {}

    @property
    def until(self) -> int | None:
        """The watermark in UTC microseconds; the agent's own stream has none, and is complete up to the time of its checkpoint."""
        if self.watermark is not None:
            return micros(self.watermark)
        return micros(self.time) if self.stream.startswith("_agent/") else None


class Status(msgspec.Struct):
    """Whether an agent lives, and which of its devices are there."""

    status: str
    session: str | None = None
    version: str | None = None
    health: str | None = None
    devices: dict[str, dict[str, Any]] = {}


def checkpoint(payload: bytes) -> Checkpoint:
    """Read a checkpoint. Raises ValueError."""
    found = from_json(payload, Checkpoint)
    if not 0 <= found.published_seq <= found.last_seq < 1 << 63:
        raise ValueError("the numbers of the checkpoint contradict each other")
    _ = found.until
    return found


def status_rows(payload: bytes, base: str, prefix: str) -> list[Row]:
    """Return the rows of an agent's status. Raises ValueError."""
    said = from_json(payload, Status)
    cells: Cells = {"prefix": prefix, "base": base, "status": text(said.status), "session": text(said.session)}
    if said.version is not None:  # the will says less
        cells |= {"version": text(said.version), "health": text(said.health)}
    rows = [Row("agents", ("prefix",), cells)]
    for name, device in said.devices.items():
        known: Cells = {
            "prefix": prefix,
            "device": text(name),
            "up": int(device.get("up") is True),
            "error": text(device.get("error")),
        }
        rows.append(Row("devices", ("prefix", "device"), known | {"last_good": text(device.get("last_good"))}))
    return rows


def meta_rows(payload: bytes, subject: str) -> list[Row]:
    """Return the row of a unit's description. Raises ValueError."""
    said = from_json(payload, dict)
    state = said.get("state")
    tag = state.get("tag") if isinstance(state, dict) else None
    device = tag.partition(".")[0] if isinstance(tag, str) else None
    cells: Cells = {"subject": subject, "unit": text(said.get("unit")) or subject, "state_device": device}
    return [Row("units", ("subject",), cells | {"meta": text(payload.decode())})]
