"""What a user may say about the buffer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from edge_agent.model.quantity import Duration

_UNITS = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$")


def size(text: object) -> int:
    """Return the bytes of ``2GiB``, ``500MB`` or ``64 KiB`` (IEC 80000-13 prefixes); an int is bytes already."""
    if type(text) is int:
        return text
    if isinstance(text, str) and (match := _SIZE.match(text.strip())):
        return round(float(match[1]) * _UNITS[match[2]])
    raise ValueError(f"{text!r} is not a size; write a number with its unit: 64MiB, 2GiB or 500MB")


def size_text(count: int) -> str:
    """Return ``count`` bytes the way a user writes them, in the largest binary unit that divides them."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return f"{count}B"


Size = Annotated[
    int,
    BeforeValidator(size),
    PlainSerializer(size_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _SIZE.pattern, "examples": ["64MiB", "2GiB", "500MB"]}),
]
"""Bytes, written with a unit."""


class BufferConfig(BaseModel):
    """Where records wait until the receiver has them, and how much of the disk they may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="Directory of the store; made when it is missing, used by one agent at a time. "
        "A relative path counts from the working directory."
    )
    max_bytes: Size = Field(
        default=2 << 30,
        ge=1 << 20,
        description="Bytes on disk at most, write-ahead log included; telemetry goes first when it binds.",
    )
    min_free: Size = Field(default=64 << 20, ge=0, description="Bytes of the file system that the buffer leaves to others.")
    commit_interval: Duration = Field(
        default=100_000_000,
        ge=1_000_000,
        description="Shortest time between two commits under load; when idle a commit is made at once.",
    )
    max_batch: int = Field(default=500, ge=1, le=10_000, strict=True, description="Events after which a commit no longer waits.")
    confirm: bool = Field(
        default=False,
        description="true: delivered events stay until the consumer has confirmed them on its retained topic, resend_window or not; only a full store "
        "wins, and declares what it drops",
    )
    confirm_within: Duration = Field(
        default=15_000_000_000,
        ge=100_000_000,
        description="with confirm, after each connect: how long the consumer's mark may stand still behind what was delivered before that is "
        "published again",
    )
    resend_window: Duration = Field(
        default=7 * 86_400_000_000_000,
        description="Running time for which delivered records are kept to be sent again; at most a quarter of max_bytes.",
    )
    machine_id: str | None = Field(
        default=None,
        min_length=1,
        description="Which machine the store belongs to, for containers; left out = EDGE_AGENT_MACHINE_ID, else /etc/machine-id.",
    )
