"""What drivers hand up: batches of readings in columns, and notices about the devices themselves.

A batch is columnar because most rows are telemetry that nobody looks at one by one; a `Reading` is a view on
one row, made only where a rule listens. Device facts (up, down, gap, reboot) are notices in the same batch, so
that they keep their place in the order of the data.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

Value = bool | int | float | str | bytes | tuple[object, ...]
"""A decoded value; arrays are tuples."""

Basis = Literal["source", "server", "agent"]


class Quality(IntEnum):
    """The quality of one sample, as OPC UA severity bits name it (OPC 10000-4, 7.39)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2


class Timestamps(msgspec.Struct, frozen=True, gc=False):
    """The three times of one sample in UTC ns; ``None`` where the protocol or the device gave none it could be believed in.

    ``asked``: when the agent asked for it, so it was not sampled before; None where nobody asked (a subscription).
    """

    source: int | None
    server: int | None
    agent: int
    asked: int | None = None

    @property
    def best(self) -> int:
        """The source time if there is one, else the server's, else the agent's."""
        if self.source is not None:
            return self.source
        return self.agent if self.server is None else self.server

    @property
    def basis(self) -> Basis:
        """Which of the three ``best`` is."""
        if self.source is not None:
            return "source"
        return "agent" if self.server is None else "server"


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One sample of one tag (``device.tag``). ``value`` is None when there is none; a bad sample may keep its raw value.

    ``detail`` says why a sample is not good, in words for a person.
    """

    tag: str
    value: Value | None
    quality: Quality
    at: Timestamps
    detail: str | None = None


class Tag(msgspec.Struct, frozen=True):
    """What is known of a tag from the configuration, whatever the driver.

    ``type`` is the declared value type (``bool``, ``int8`` ... ``uint64``, ``float16`` ... ``float64``, ``bcd16`` ... ``bcd64``, ``string``)
    or None when the device tells. ``value = raw * scale + offset``. ``period`` is the sampling or poll period in ns (plant clock).
    ``snapshot`` names the tags that are read in one request with this one (same name = same request), None when unknown.
    ``names`` says what the values of an enumeration are called; the value itself stays the number. ``scaled_by`` is the tag by
    which the device itself scales this one, anew in each sample.
    """

    device: str
    name: str
    type: str | None = None
    scale: float = 1.0
    offset: float = 0.0
    uom: str | None = None
    period: int = 0
    snapshot: str | None = None
    acknowledge: bool = False
    names: tuple[tuple[int, str], ...] = ()
    scaled_by: str | None = None

    @property
    def ref(self) -> str:
        """The tag as units name it: ``device.tag``."""
        return f"{self.device}.{self.name}"


# -- notices -----------------------------------------------------------------------------------------------------

GapReason = Literal[
    "comm_loss", "agent_down", "device_restart", "queue_overflow", "sampling_overrun", "bad_quality", "invalid_reply",
    "handshake_overrun", "buffer_overflow", "corruption", "store_rolled_back", "rejected", "rule_error", "clock",
]  # fmt: skip
"""The one list of reasons of ``collection.gap``."""


class DeviceUp(msgspec.Struct, frozen=True, tag="up"):
    """The device answers (again). ``time`` is the agent's time of the first answer."""

    device: str
    time: int


class DeviceDown(msgspec.Struct, frozen=True, tag="down"):
    """The device is lost, found at ``time``; ``last_good`` is the best time of its last good sample (None: never had one)."""

    device: str
    time: int
    last_good: int | None
    error: str


class Boot(msgspec.Struct, frozen=True, tag="boot"):
    """Evidence for or against a restart of the device, sent after each connect and whenever it changes.

    ``boot_id`` is the device's own boot counter (rules); ``started`` the start time of its server in UTC ns, which
    decides only where there is no ``boot_id``.
    """

    device: str
    time: int
    boot_id: int | str | None
    started: int | None = None


class Gap(msgspec.Struct, frozen=True, tag="gap"):
    """Samples of ``tags`` (names inside the device; empty = all) may be missing between ``since`` and ``until``.

    ``count`` is the number of lost samples or polls where it is known.
    """

    device: str
    reason: GapReason
    since: int
    until: int
    tags: tuple[str, ...] = ()
    count: int | None = None


class ClockOffset(msgspec.Struct, frozen=True, tag="offset"):
    """The device's clock minus the agent's, in ns, measured at ``time``."""

    device: str
    time: int
    offset: int


class TagStatus(msgspec.Struct, frozen=True, tag="tag"):
    """A tag was lost or found as a whole: a matter of configuration, not of one sample.

    ``code`` says how: ``tag_lost`` (node unknown, address refused), ``type_changed`` (the device sends another type than declared).
    """

    device: str
    time: int
    name: str
    ok: bool
    detail: str = ""
    code: str = "tag_lost"


class Settled(msgspec.Struct, frozen=True, tag="settled"):
    """Every tag of the device was looked at since its last `DeviceUp`: what a `TagStatus` has not complained of since then is in order.

    Sent once on a connection by drivers that do not know what an earlier connection complained of.
    """

    device: str
    time: int


class Undeclared(msgspec.Struct, frozen=True, tag="undeclared"):
    """The device has ``count`` variables that are meant to be tags and are not declared (0: none); ``paths`` names the first of them.

    Sent after each connect where the configuration asks for that. They are not read: what is collected changes with the configuration only.
    """

    device: str
    time: int
    paths: tuple[str, ...]
    count: int
    detail: str = ""


class Polled(msgspec.Struct, frozen=True, tag="polled"):
    """The device's server does not sample ``count`` tags, which are polled instead; ``names`` are the first of them. 0: it samples them all.

    Sent on a connection as soon as that is known, with all tags found so until then, and again when it has changed.
    """

    device: str
    time: int
    names: tuple[str, ...]
    count: int
    detail: str = ""


class Recovered(msgspec.Struct, frozen=True, tag="recovered"):
    """What ``tags`` (names inside the device; empty = all) sampled while nobody listened is known to the last sample, at ``time``.

    It follows as historical rows. ``without`` are the names of which that cannot be said. A loss declared before it has hidden nothing of the others.
    """

    device: str
    time: int
    tags: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether everything of tag ``name`` is known."""
        return (not self.tags or name in self.tags) and name not in self.without


class DeviceFault(msgspec.Struct, frozen=True, tag="fault"):
    """A device needs a person, or (``ok``) no longer does: ``code`` names what it is about, ``remedy`` says what mends it.

    The same code with the same text again is no news; ``severity`` is 1 to 1000 as in OPC 10000-9.
    """

    device: str
    time: int
    code: str
    ok: bool
    text: str = ""
    remedy: str = ""
    severity: int = 500


class AgentDown(msgspec.Struct, frozen=True, tag="agent_down"):
    """The agent itself was away between ``since`` (last committed time of the unit) and ``until``; made by the agent, never by a driver."""

    since: int
    until: int


Notice = (
    DeviceUp
    | DeviceDown
    | Boot
    | Gap
    | ClockOffset
    | TagStatus
    | Settled
    | Undeclared
    | Polled
    | DeviceFault
    | Recovered
    | AgentDown
)


# -- batches -----------------------------------------------------------------------------------------------------


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """Rows ``start`` to ``stop`` of a batch came from one read request made because trigger group ``group`` fired."""

    group: str
    start: int
    stop: int


class Mark(msgspec.Struct, frozen=True):
    """How far a device's data have been taken: what a later connection needs to go on from there (decision 0008).

    ``line`` names one unbroken row of messages, ``number`` the last of them that is in; ``seen`` is the newest time (UTC ns, the
    device's clock) of tags by their index, where a later connection must not bring anything older. ``facts`` are the driver's own.
    ``left`` is how many more batches message ``number`` has.
    """

    line: str
    number: int
    seen: dict[int, int] = msgspec.field(default_factory=dict)
    facts: bytes = b""
    left: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Where in its line it stands."""
        return self.number, -self.left


class Batch(msgspec.Struct):
    """Everything a device delivered at one moment, in columns of equal length, in arrival order.

    ``tags`` are indexes into the device's tag list (configuration order); ``values`` are scaled; ``source`` and ``server`` are
    UTC ns, 0 where there is none; ``received`` is the agent's plant time for all rows, ``asked`` when it had asked for them (0: nobody
    asked): they were sampled in between. ``details`` explains rows that are not good.
    Notices in ``before`` happened before the rows, those in ``after`` after them. ``historical`` rows were sampled while nobody
    listened and come now, oldest first, with their own times. ``mark`` says how far the device's data are in with this batch.
    """

    device: str
    received: int
    tags: list[int] = msgspec.field(default_factory=list)
    values: list[Value | None] = msgspec.field(default_factory=list)
    quality: list[int] = msgspec.field(default_factory=list)
    source: list[int] = msgspec.field(default_factory=list)
    server: list[int] = msgspec.field(default_factory=list)
    details: dict[int, str] = msgspec.field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    before: tuple[Notice, ...] = ()
    after: tuple[Notice, ...] = ()
    asked: int = 0
    historical: bool = False
    mark: Mark | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.tags)

    def reading(self, row: int, ref: str) -> Reading:
        """Return row ``row`` as a reading of the tag called ``ref``."""
        source, server = self.source[row], self.server[row]
        return Reading(
            ref,
            self.values[row],
            Quality(self.quality[row]),
            Timestamps(source or None, server or None, self.received, self.asked or None),
            self.details.get(row),
        )
