"""What the status page's API says beyond `report`: tags, codes, the last hour of delivery. The names are a promise: docs/reference/api.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from edge_agent.status.report import Status

Quality = Literal["good", "uncertain", "bad", "none"]


class TagReport(msgspec.Struct, frozen=True):
    """The newest sample of one tag, ``ref`` = ``device.name``.

    ``quality`` is ``none`` before the first sample; of a device that is down every tag is ``bad`` and keeps its last ``value``. ``value`` is JSON's
    (integers beyond 2^53 and what is not finite as text, bytes as hex, long texts cut); ``text`` is its name in an enumeration. ``time`` is the best
    time of the sample (RFC 3339), ``basis`` whose clock that is: source, server or agent. ``detail`` says in words, ``code`` as a fault code why it is
    not good.
    """

    ref: str
    device: str
    name: str
    value: object
    text: str | None
    unit: str | None
    quality: Quality
    time: str | None
    basis: Literal["source", "server", "agent"] | None
    detail: str | None
    code: str | None


class TagsWish(msgspec.Struct, frozen=True):
    """Which tags: of ``device``, whose ref or detail holds ``q``, of a ``quality`` (``not_good``: all but good), those that changed after revision ``since``.

    At most ``limit`` of them; 0 is all.
    """

    device: str | None = None
    q: str | None = None
    quality: Literal["good", "uncertain", "bad", "none", "not_good"] | None = None
    since: int = 0
    limit: int = 0


class TagCounts(msgspec.Struct, frozen=True):
    """How many tags there are, whatever was asked for, by quality."""

    total: int
    good: int
    uncertain: int
    bad: int
    none: int


class TagsHead(msgspec.Struct, frozen=True):
    """What stands before the tags: ``revision`` is what to ask for as ``since`` next time, ``time`` the agent's time now.

    ``whole``: these are all that were wished for, not only what has changed; what was known before counts no more.
    """

    revision: int
    time: str
    counts: TagCounts
    whole: bool = True


class CodeReport(msgspec.Struct, frozen=True):
    """What a fault code means: its ``cause``, how to ``check``, the ``remedy``, and where the page of all codes explains it."""

    code: str
    cause: str
    check: str
    remedy: str
    page: str


class Moment(msgspec.Struct, frozen=True):
    """Delivery at ``time``: records sent since the start, records that wait, bytes of the buffer."""

    time: str
    sent: int
    waiting: int
    bytes: int


class HistoryReport(msgspec.Struct, frozen=True):
    """Delivery over the last hour, a moment every ``every`` machine seconds, oldest first."""

    every: float
    moments: list[Moment]


class View(Protocol):
    """What the page shows of one agent."""

    async def status(self) -> Status:
        """Return the agent as it is now, or was less than a second ago."""
        ...

    def tags(self, wish: TagsWish) -> tuple[TagsHead, Sequence[TagReport]]:
        """Return what stands before them, and the tags."""
        ...

    def history(self) -> HistoryReport:
        """Return the last hour."""
        ...

    def departures(self) -> AsyncIterator[bytes]:
        """Yield lines of JSON about what leaves, as `/api/tail` of the local API does."""
        ...
