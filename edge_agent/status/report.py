"""What the local API says and takes: structs of run-time data, and the protocol of whoever answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec


class DeviceReport(msgspec.Struct, frozen=True):
    """One device: ``up`` is None before the first try; ``last_good`` is RFC 3339; ``fault`` names what it stands still for until a person comes."""

    driver: str
    endpoint: str
    up: bool | None
    ready: bool
    last_good: str | None
    error: str | None
    fault: str | None = None


class LinkReport(msgspec.Struct, frozen=True):
    """One connection: ``kind`` is ``device`` or ``mqtt``; ``tries`` since it was lost."""

    name: str
    kind: str
    up: bool | None
    error: str | None
    tries: int


class WorkerReport(msgspec.Struct, frozen=True):
    """One process that reads devices (`workers`): ``process`` is None while there is none; ``restarts`` since the agent's start."""

    name: str
    process: int | None
    up: bool
    restarts: int
    devices: list[str]


class DeliveryReport(msgspec.Struct, frozen=True):
    """What was delivered since the start; ages in seconds of machine time, waits for an acknowledgement in ms."""

    sent: int
    rejected: int
    last_acknowledged_age: float | None
    wait_p50: float | None
    wait_p95: float | None


class StreamReport(msgspec.Struct, frozen=True):
    """One stream: numbers kept, given, delivered without a hole; how many wait behind that; time of the oldest of them.

    ``confirmed`` is up to where the consumer has applied it (buffer.confirm), None where it has not said so.
    """

    stream: str
    epoch: str
    first: int
    last: int
    delivered: int
    undelivered: int
    oldest: str | None
    confirmed: int | None = None


class BufferReport(msgspec.Struct, frozen=True):
    """The buffer: records not delivered by class, the time of the oldest, bytes on disk, dead letters, all streams, and the commits since the start.

    ``dropped`` = undelivered records that went for want of room since the start; ``full``: one did in the last minute.
    """

    path: str
    epoch: str
    healthy: bool
    detail: str
    waiting_events: int
    waiting_telemetry: int
    oldest: str | None
    bytes: int
    dead_letters: int
    streams: list[StreamReport]
    commits: int = 0
    dropped: int = 0
    full: bool = False


class FaultReport(msgspec.Struct, frozen=True):
    """Something that wants a person: ``code`` is explained in docs/reference/faults.md, ``about`` says of what; ``level`` how much it hurts."""

    code: str
    about: str
    text: str
    remedy: str
    level: Literal["warning", "critical"]


class Status(msgspec.Struct, frozen=True):
    """The whole agent at ``time``; ``problems`` says in words why its health is not ``ok``; ``critical``: the store is out of order.

    ``warnings`` is what works and wants a person all the same: connections without security, certificates that will expire. ``faults``
    are the problems and warnings of the running agent again, with their codes.
    """

    health: Literal["ok", "degraded", "critical"]
    problems: list[str]
    agent: str
    version: str
    session: str
    process: int
    time: str
    started: str
    cfg: str
    devices: dict[str, DeviceReport]
    units: dict[str, str]
    links: list[LinkReport]
    delivery: DeliveryReport
    buffer: BufferReport
    warnings: list[str] = []
    faults: list[FaultReport] = []
    workers: list[WorkerReport] = []


class Wanted(msgspec.Struct, frozen=True):
    """Which records to export: everything undelivered, or a stream from ``first`` to ``last`` (None: its newest) of an epoch (None: the store's)."""

    stream: str | None = None
    epoch: str | None = None
    first: int = 1
    last: int | None = None


class ResendWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records of a stream that shall be delivered again; ``to_seq`` None: to its newest, ``epoch`` None: the store's."""

    stream: str
    from_seq: int
    to_seq: int | None = None
    epoch: str | None = None


class Resent(msgspec.Struct, frozen=True):
    """What became of it: how many will be sent again, how many wait for delivery anyway, how many are no longer kept."""

    stream: str
    epoch: str
    from_seq: int
    to_seq: int
    resent: int
    waiting: int
    not_kept: int


class LetterReport(msgspec.Struct, frozen=True):
    """One dead letter: its number in the list, the CloudEvents id of the record, why it is here, bytes of its data."""

    number: int
    id: str
    stream: str
    type: str
    time: str
    reason: str
    detail: str
    bytes: int


class RetryWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dead letters to send again."""

    numbers: list[int]


class Retried(msgspec.Struct, frozen=True):
    """One dead letter that became a new record with this CloudEvents id."""

    number: int
    id: str


class ReloadReport(msgspec.Struct, frozen=True):
    """What became of a reload: ``rejected``: the files are wrong (``text`` has file:line), ``refused``: they want a restart, ``later``: not now.

    In those three cases nothing has changed. ``changes`` says in words what is different now.
    """

    outcome: Literal["reloaded", "unchanged", "rejected", "refused", "later"]
    cfg: str
    text: str = ""
    remedy: str = ""
    changes: list[str] = []


class Desk(Protocol):
    """Answers what people ask of a buffer. Every method raises EdgeAgentError with a text for people."""

    async def buffer(self) -> BufferReport:
        """Return the figures."""
        ...

    def export(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield CloudEvents as lines of JSON, some lines at a time; nothing counts as delivered."""
        ...

    async def resend(self, wish: ResendWish) -> Resent:
        """Have delivered records sent again under their names."""
        ...

    async def dead_letters(self, after: int, limit: int) -> Sequence[LetterReport]:
        """Return up to ``limit`` dead letters behind number ``after``."""
        ...

    async def retry(self, wish: RetryWish) -> Sequence[Retried]:
        """Append what dead letters say as new records; those that are unknown or damaged are left out."""
        ...
