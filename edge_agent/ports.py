"""The seams: what a driver, a buffer, a sink and a clock promise. Rooms know these protocols, never each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import msgspec

from edge_agent.model.histogram import Histogram
from edge_agent.model.reading import Batch, Mark, Tag, Value
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey


class PlantClock(Protocol):
    """The plant's time: event times, sampling and poll periods, ticks, debounce, shifts. Scaled in the demo, the wall clock in a plant.

    Connect, acknowledge and keep-alive timeouts, back-off, commit and heartbeat never use it: those are machine time
    (``time.monotonic_ns``, ``asyncio.timeout``, the event loop's clock).
    """

    @property
    def speed(self) -> float:
        """Plant seconds per machine second (1.0 in a plant); may be asked before the clock runs."""
        ...

    def now(self) -> int:
        """The UTC time in ns. While the demo waits for its start, the same value again and again."""
        ...

    async def sleep_until(self, time: int) -> None:
        """Return when ``now() >= time``; at once when that is past (but always yields to the loop)."""
        ...


class Trigger(msgspec.Struct, frozen=True):
    """A trigger group: whenever ``trigger`` changes (and after each connect), read ``tags`` in one request (names inside the device).

    The rows arrive in one batch as a `Snapshot` named ``name``, in the order of ``tags``, besides the ordinary rows.
    """

    name: str
    trigger: str
    tags: tuple[str, ...]


class DeviceWiring(msgspec.Struct, frozen=True):
    """What the units ask of one device beyond its tags: trigger groups, and the tags that may be acknowledged (written).

    ``marks`` say how far each reader has the device's data, as its last commit left it; empty where one of them does not know.
    ``returns``: the readers remember marks, so what the device keeps for them is worth keeping over a short absence. ``stored`` says which
    marks are on disk by now (empty where one of the readers has none): what is behind them may be asked for again after a kill.
    ``boundary`` are the tags that name what is being made, ``counted`` those that count: a driver that polls reads and reports all of ``counted`` with a
    change of one of ``boundary``, as of one instant, so that what was made so far is told with what it was made for.
    """

    triggers: tuple[Trigger, ...] = ()
    acknowledge: frozenset[str] = frozenset()
    marks: tuple[Mark, ...] = ()
    returns: bool = False
    stored: Callable[[], tuple[Mark, ...]] = tuple
    boundary: frozenset[str] = frozenset()
    counted: frozenset[str] = frozenset()

    def also(self, other: DeviceWiring) -> DeviceWiring:
        """Return what this and an ``other`` unit ask of the device."""
        return msgspec.structs.replace(
            self,
            triggers=self.triggers + other.triggers,
            acknowledge=self.acknowledge | other.acknowledge,
            boundary=self.boundary | other.boundary,
            counted=self.counted | other.counted,
        )


class Identity(msgspec.Struct, frozen=True):
    """Who this agent is to its devices: its id, the folder of its keys and of what it trusts, and the configuration that people name to commands."""

    agent: str
    folder: Path
    config: Path = Path("/etc/edge-agent")


class Driver(Protocol):
    """An open connection to one endpoint with all devices behind it. Exists only inside ``async with connect(...)``.

    The driver acquires in its own tasks, on its own grid, into a bounded queue; nothing waits for the disk. A full queue is a
    `Gap` notice with reason ``sampling_overrun``.
    """

    @property
    def tags(self) -> Mapping[str, Sequence[Tag]]:
        """The tags of each device, in the order that ``Batch.tags`` indexes."""
        ...

    async def read(self) -> Sequence[Batch]:
        """Wait until something is there and return everything waiting, oldest first; at least one batch.

        Calling it again accepts all batches returned before: only then may the protocol acknowledge them. The first batches after
        a connect hold one row for every tag (good or bad) and the `Boot` notice where the device has such evidence.
        Raises DisconnectedError when the endpoint is lost, after everything received before has been returned.
        """
        ...

    async def acknowledge(self, device: str, tag: str, value: Value) -> None:
        """Write one allow-listed handshake tag. Raises PermissionError for any other, DisconnectedError when the link is gone."""
        ...

    def poll_at(self, time: int) -> bool:
        """Add one poll of every polled tag at plant time ``time`` (calendar boundaries); False when nothing is polled (subscriptions)."""
        ...


class PollCounts(msgspec.Struct):
    """Figures of one device since the connect: polls answered, begun late, left out, discarded; ``lateness`` is the sum of all delays in ns (plant time)."""

    polls: int = 0
    late: int = 0
    missed: int = 0
    discarded: int = 0
    lateness: int = 0

    def plus(self, other: PollCounts) -> PollCounts:
        """Return both together."""
        return PollCounts(
            *(mine + theirs for mine, theirs in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )


@runtime_checkable
class Polling(Protocol):
    """A driver that polls on a grid, and counts how it keeps it."""

    @property
    def counts(self) -> Mapping[str, PollCounts]:
        """Figures of each device since the connect, counted on in place."""
        ...


class BufferStats(msgspec.Struct, frozen=True):
    """Figures of the buffer: records not yet delivered (by kind), the time of the oldest of them, bytes on disk, its health.

    ``dropped`` = undelivered records that went for want of room since the start; ``full``: one did in the last minute. ``syncs``: how long commits
    took to reach the disk.
    """

    waiting_events: int
    waiting_telemetry: int
    oldest: int | None
    bytes: int
    commits: int
    healthy: bool
    detail: str = ""
    dropped: int = 0
    full: bool = False
    syncs: Histogram | None = None


class Buffer(Protocol):
    """The durable outbox and the rule state, in one store with one writer.

    An append is one transaction: events, their numbers and the state they came from. ``seq`` is contiguous per stream
    inside an epoch and starts at 1.
    """

    @property
    def epoch(self) -> str:
        """The ULID of the store."""
        ...

    @property
    def previous_epoch(self) -> str | None:
        """The epoch before, where the store was re-created and still knew it."""
        ...

    @property
    def fresh(self) -> bool:
        """Whether this opening created the store (so every baseline is new)."""
        ...

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Commit events and rule state together; returns when they are safe. Raises StorageError when nothing was accepted."""
        ...

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the stored rule states of an owner and its last-seen time (None: never)."""
        ...

    async def peek(self, output: str, after: RecordKey | None, limit: int, kind: Kind) -> Sequence[Record]:
        """Return up to ``limit`` undelivered records of ``kind`` for ``output`` in the order they were appended.

        ``after`` = the last record that the caller has in flight (None: from the oldest undelivered).
        """
        ...

    async def settle(self, output: str, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Mark records as delivered (kept for the resend window), or set them aside with the reason (a loss record takes the place)."""
        ...

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Mark delivered records ``first`` to ``last`` as waiting again; returns how many were still there."""
        ...

    async def arrived(self) -> None:
        """Return when something was appended or marked for resend since the last call returned."""
        ...

    async def heads(self) -> Mapping[str, tuple[int, int, int]]:
        """Return per stream (first seq still kept, last seq, last seq delivered without a hole)."""
        ...

    async def stats(self) -> BufferStats:
        """Return figures for status and health."""
        ...


class StreamLevel(msgspec.Struct, frozen=True):
    """How far one stream is: first number still kept, last given, last delivered without a hole; time (UTC ns) of the oldest undelivered record.

    ``confirmed`` is up to where the consumer says that it has applied the stream, None where it never said so.
    """

    stream: str
    epoch: str
    first: int
    last: int
    delivered: int
    oldest: int | None
    confirmed: int | None = None


Confirmation = Literal["taken", "known", "backwards", "ahead", "unknown"]
"""What a consumer's watermark is worth: new, said before, less than before, more than was delivered, of a stream or epoch that is not here."""


class Page(msgspec.Struct, frozen=True):
    """Some records, and the position behind which the next page begins; it may be empty before the ``end``."""

    records: Sequence[Record]
    position: int
    end: bool


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that cannot be delivered, under its name in the list: why (``rejected``, ``corruption``), and what was said of it."""

    number: int
    record: Record
    reason: str
    detail: str


class Archive(Protocol):
    """What people ask of a buffer: to look without touching, and to send dead letters again. Raises StorageError like `Buffer`."""

    async def levels(self) -> Sequence[StreamLevel]:
        """Return how far the streams of every epoch are that the store knows."""
        ...

    async def waiting(self, kind: Kind, after: int, limit: int) -> Page:
        """Return up to ``limit`` undelivered records from behind position ``after`` (0: from the oldest); nothing counts as handed out.

        A record whose checksum is wrong comes as the loss record that will take its place.
        """
        ...

    async def kept(self, stream: str, epoch: str, first: int, last: int, limit: int) -> Page:
        """Return up to ``limit`` records of a stream that are still there and cover any of the numbers ``first`` to ``last``, in order.

        The position is the last number looked at.
        """
        ...

    async def dead_letter_count(self) -> int:
        """Return how many dead letters there are."""
        ...

    async def dead_letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """Return up to ``limit`` dead letters behind number ``after``, oldest first."""
        ...

    async def retry(self, numbers: Sequence[int]) -> Sequence[tuple[int, RecordKey]]:
        """Append what dead letters say as new records of their streams and drop the letters, together; return (letter, new name).

        Their own numbers stay declared lost, for a receiver has passed them. Letters that are unknown or damaged (``corruption``) are left out.
        """
        ...


class Confirming(Protocol):
    """A buffer that keeps what a consumer has not confirmed."""

    async def confirm(self, stream: str, epoch: str, seq: int) -> Confirmation:
        """Take in that the consumer has applied a stream up to ``seq``; only what can be true moves anything. Raises StorageError."""
        ...

    async def levels(self) -> Sequence[StreamLevel]:
        """Return how far the streams of every epoch are."""
        ...

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Mark delivered records as waiting again, see `Buffer`."""
        ...


class ArchiveBuffer(Buffer, Archive, Protocol):
    """A buffer that people can look into."""


class Document(msgspec.Struct, frozen=True):
    """A retained or unnumbered message: status, ``_state``, ``_meta``, checkpoint. ``expiry`` in machine seconds, None = for ever.

    ``correlation`` is MQTT 5's correlation data, for the answer to a request. Without ``lasting`` a receiver that knows no expiry must not
    keep it.
    """

    topic: str
    payload: bytes
    retain: bool = True
    expiry: int | None = None
    content_type: str = "application/json"
    correlation: bytes | None = None
    lasting: bool = True


class Request(msgspec.Struct, frozen=True):
    """A command received on the agent's ``cmd`` topics. ``reply`` and ``correlation`` are MQTT 5's, when given."""

    command: Literal["resend", "rebirth", "snapshot"]
    body: bytes
    reply: str | None = None
    correlation: bytes | None = None


class Sink(Protocol):
    """An open connection to the receiver. Exists only inside ``async with connect(...)``."""

    @property
    def window(self) -> int:
        """How many records may be in flight at once (already reduced to the receiver's maximum)."""
        ...

    async def publish(self, record: Record) -> None:
        """Send one record and return on its successful acknowledgement.

        Records handed over one after another leave in that order. Raises RejectedError when the receiver will never take it,
        DisconnectedError when the link is gone or no acknowledgement came in time.
        """
        ...

    async def announce(self, document: Document) -> None:
        """Send a retained or unnumbered message and wait for its acknowledgement."""
        ...

    async def retained(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        """Return what the receiver keeps on ``topics``, by topic; those with nothing, or that may not be read, are left out."""
        ...

    async def request(self) -> Request:
        """Wait for the next command from outside. Raises DisconnectedError when the link is gone."""
        ...
