"""What a rule is: a pure step over the moments of one unit.

`derive.py` cuts the batches of a unit into moments (all readings with the same best time), and folds each moment through the
rules in the order of their phase. A rule sees only the moment, its own state and the unit's picture; it never
waits, reads a clock or asks for data. Time that passes without data arrives as a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Protocol, TypeVar

import msgspec

from edge_agent.model.event import NO_CONTEXT, Acknowledge, Context, ProductionEvent
from edge_agent.model.reading import Notice, Reading


class Phase(IntEnum):
    """The order of rules inside one moment.

    Derived tags come before everything: what they give are samples to all others. Then counts: a difference seen at t was made before t, so it belongs to the context before t. Then the context changes, then
    what is true from t on (state before downtime), last what needs the results of the others (gap, telemetry).
    """

    DERIVE = 0
    COUNT = 1
    CONTEXT = 2
    STATE = 3
    DOWNTIME = 4
    RECORD = 5
    GAP = 6


class CounterFacts(msgspec.Struct, frozen=True):
    """Where a counter stands: the agent's accumulator (never wraps), the raw register and its role; for snapshots and checkpoints.

    ``scale`` turns raw units into ``uom``; ``good`` tells whether the last sample was usable; ``aside`` is how much of ``total`` (raw
    units both) was made outside production while an order was open: it belongs to no order.
    """

    role: str
    total: int
    raw: int | None
    modulus: int | None = None
    boot: str | None = None
    scale: float = 1.0
    uom: str = "H87"
    good: bool = True
    aside: int = 0


class StateFacts(msgspec.Struct, frozen=True):
    """The machine's state: raw code, name, category (running, idle, ..., unknown), and since when (UTC ns)."""

    code: int | str | None
    name: str
    category: str
    since: int
    model: str = "custom"


class Ended(msgspec.Struct, frozen=True):
    """A context that ended at ``until`` (UTC ns, by the clock of ``device``, which told it), ``heard`` by the agent's; ``unseen`` since when it may have.

    ``unseen`` is None where somebody looked.
    """

    ctx: Context
    until: int
    heard: int
    device: str
    unseen: int | None = None


class Picture(msgspec.Struct, frozen=True):
    """Everything that is true of a unit at a moment; rules replace their own part of it by ``Outcome.picture``.

    ``production`` is False in modes that are not production (maintenance, manual, setup). ``alarms`` maps instance id to a short
    JSON-able description. ``downtime`` is the id of the open downtime. ``down`` holds the devices that do not answer now. ``ended`` are the
    last contexts before this one, oldest first.
    """

    context: Context = NO_CONTEXT
    mode_code: int | None = None
    production: bool = True
    state: StateFacts | None = None
    downtime: str | None = None
    counters: Mapping[str, CounterFacts] = msgspec.field(default_factory=dict)
    alarms: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    down: frozenset[str] = frozenset()
    ended: tuple[Ended, ...] = ()


class Moment(msgspec.Struct, frozen=True):
    """One instant of a unit as a rule sees it.

    ``time`` is the best time of the readings, or the tick's. ``readings`` maps ``device.tag`` to the sample of this instant, only for
    tags that some rule of the unit listens to; ``snapshots`` maps a trigger group's name to the readings of one atomic read.
    ``notices`` happened before the readings. ``picture`` is the unit as the phases before left it in this moment, ``before`` as it was
    when the moment began. ``events`` are what earlier phases of this moment made (for `Phase.GAP`). ``late`` marks data that
    arrived after the reorder window, ``historical`` what was sampled while nobody listened. ``final`` is True on the last tick before a shutdown.
    ``offsets`` are the clocks of the devices minus the agent's, in ns, as far as they were measured.
    """

    time: int
    unit: str
    readings: Mapping[str, Reading] = msgspec.field(default_factory=dict)
    snapshots: Mapping[str, Mapping[str, Reading]] = msgspec.field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    picture: Picture = Picture()
    before: Picture = Picture()
    events: tuple[ProductionEvent, ...] = ()
    tick: bool = False
    final: bool = False
    late: bool = False
    historical: bool = False
    offsets: Mapping[str, int] = {}


class Outcome(msgspec.Struct, frozen=True):
    """What a step produced: events in order, effects to do after the commit, and the parts of the picture that changed.

    ``readings``: samples of derived tags, for the rules of later phases (only of `Phase.DERIVE`).
    """

    events: tuple[ProductionEvent, ...] = ()
    effects: tuple[Acknowledge, ...] = ()
    picture: Mapping[str, Any] | None = None
    readings: Mapping[str, Reading] | None = None


NOTHING = Outcome()

S = TypeVar("S", bound=msgspec.Struct)


class Rule(Protocol[S]):
    """A rule of one unit. Stateless itself: everything it remembers is in ``S``, a frozen msgspec Struct with defaults.

    The state is stored under ``name`` with ``version`` and ``fingerprint``; a stored state whose fingerprint differs is dropped and the
    rule starts from `initial`. The fingerprint is a short text of what gives the state its meaning (tag,
    scale, wraps, role), never of thresholds and labels.

    Every rule is stepped on every moment that has notices; on others only when a tag of its own has a reading, when one of its trigger
    groups fired, when it wants ticks, or (phase GAP) when earlier phases made events.

    One that tells of single parts has a ``mark`` besides, the ``device.tag`` that says when a part was made: see `boundary.py`.
    """

    @property
    def name(self) -> str:
        """Unique in the unit: ``counters.total``, ``state``, ``downtime``."""
        ...

    @property
    def phase(self) -> Phase:
        """When in a moment it is folded."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """The ``device.tag`` references it listens to; it is stepped whenever one of them has a reading."""
        ...

    @property
    def ticks(self) -> bool:
        """Whether it is also stepped on ticks (1/s and at declared boundaries)."""
        ...

    @property
    def version(self) -> int:
        """The version of the state's encoding."""
        ...

    @property
    def fingerprint(self) -> str:
        """A short text of what gives the state its meaning."""
        ...

    @property
    def state_type(self) -> type[S]:
        """The class to decode a stored state into."""
        ...

    def initial(self) -> S:
        """The state before anything was seen."""
        ...

    def step(self, state: S, moment: Moment) -> tuple[S, Outcome]:
        """Fold one moment. Return the same ``state`` object when nothing changed, so that nothing is stored."""
        ...
