"""What stands between a unit's inputs and what is folded: the things to fold, and what the intake remembers from turn to turn."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edge_agent.events.clocks import DeviceClock
from edge_agent.model.reading import Notice, Reading


class Tick(msgspec.Struct, frozen=True):
    """Time that passes without data: plant time ``time`` (UTC ns). ``final`` is the last one before a shutdown."""

    time: int
    final: bool = False


class Read(msgspec.Struct, frozen=True):
    """The rows of one trigger group, read in one request."""

    group: str
    readings: Mapping[str, Reading]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One thing to fold: ``key`` is its place in the order, ``time`` its own time, ``batch`` the number of the batch it came in."""

    key: int
    time: int
    received: int
    batch: int
    device: str
    what: Notice | Reading | Read | Tick
    late: bool = False
    historical: bool = False
    offset: int | None = None

    @property
    def order(self) -> tuple[int, bool]:
        """A tick comes after every reading of its time."""
        return self.key, type(self.what) is Tick


class Route(msgspec.Struct, frozen=True):
    """What a unit wants of one device: the names of its tags by index, and the indexes that a rule listens to."""

    refs: tuple[str, ...]
    listened: tuple[bool, ...]
    wanted: frozenset[int]


class Retained(msgspec.Struct, frozen=True):
    """What the MES retained while the agent was away is waited for: the ``members`` not heard yet, ``since`` the return, ``until`` (UTC ns)."""

    members: frozenset[int]
    since: int
    until: int


class Window(msgspec.Struct, frozen=True):
    """What the intake remembers between turns: the agent's time, the devices' clocks, what still waits, and the batches so far.

    ``retained``: everything waits for what the MES says of the absence, for it belongs ahead of what the devices say.
    """

    now: int = 0
    clocks: Mapping[str, DeviceClock] = msgspec.field(default_factory=dict)
    waiting: tuple[Item, ...] = ()
    taken: int = 0
    retained: Retained | None = None

    @property
    def settled(self) -> int:
        """How many batches, counted from the first, have been folded completely."""
        return min((item.batch for item in self.waiting if type(item.what) is not Tick), default=self.taken)


class Patience(msgspec.Struct, frozen=True):
    """How long things wait (plant ns): readings ``reorder``, ticks ``settle``, and what lies behind ``boundary`` until it has settled.

    ``outside``: how long, behind an absence of the agent, for what the MES retained.
    """

    reorder: int = 0
    outside: int = 0
    settle: int = 1_000_000_000
    boundary: int | None = None
