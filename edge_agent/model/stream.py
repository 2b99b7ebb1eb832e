"""Streams and records: what the buffer numbers and the publisher sends.

A stream is (agent, work unit); its name is unique inside the agent: ``filler``, ``filler/telemetry``, ``_agent/gw-l3``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["E", "T"]
"""Priority class: E events, T telemetry (dropped first)."""


class Custody(StrEnum):
    """What the buffer says of an append: safe on disk, or only in RAM while the disk is out of order."""

    DURABLE = "durable"
    VOLATILE = "volatile"


class RecordKey(NamedTuple):
    """The identity of a record for ever: its stream, the epoch of the store and the number in the stream."""

    stream: str
    epoch: str
    seq: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event ready for the buffer: bytes and the few columns that the envelope needs. It has no number yet.

    ``type`` is the full CloudEvents type; ``time`` and ``recorded`` are UTC ns; ``body`` is the JSON object of ``data`` without
    ``epoch`` and ``seq``, at least ``{}``; ``samples`` counts the rows of a telemetry message.
    """

    stream: str
    kind: Kind
    type: str
    time: int
    recorded: int
    body: bytes
    correlation: str | None = None
    causation: str | None = None
    samples: int = 1


class Record(msgspec.Struct, frozen=True, gc=False):
    """An entry that the buffer has numbered and made durable. ``resent`` = it was sent before, or asked for again."""

    key: RecordKey
    entry: Entry
    resent: bool = False


class Checkpoint(msgspec.Struct, frozen=True):
    """The rule state of one owner (a unit, or the agent) that is committed with its events.

    ``states`` maps a rule's name to its encoded state; rules that did not change are left out. ``last_seen`` is the plant time in
    UTC ns up to which the owner has folded its inputs.
    """

    owner: str
    states: dict[str, bytes]
    last_seen: int


def record_id(key: RecordKey) -> str:
    """Return the CloudEvents id of a record: ``<epoch>-<stream>-<seq>``, unique over the agent, the same at every resend."""
    return f"{key.epoch}-{key.stream.replace('/', '.')}-{key.seq:012d}"
