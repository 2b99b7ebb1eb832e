"""What a truth consists of: frozen dataclasses, all times in plant seconds since the scenario's epoch."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.stops import Downtime

VERDICTS = {1: "ok", 2: "nok"}
"""The words for the numbers in Rec.Verdict."""


@dataclass(frozen=True)
class Counts:
    """Parts made in a window; good = total - scrap."""

    total: int
    scrap: int

    @property
    def good(self) -> int:
        """Parts that were not rejected."""
        return self.total - self.scrap


@dataclass(frozen=True)
class Order:
    """One order; ``ended`` is None while it is open at the end. Counts are those of production modes only."""

    order: str
    product: str | None
    lot: str | None
    started: float
    ended: float | None
    total: int
    scrap: int
    good: int
    energy_units: int
    energy_wh: float


@dataclass(frozen=True)
class NoOrder:
    """Counts that belong to no order: by mode number, in a mode that is not production or without an order."""

    mode: int
    total: int
    scrap: int


@dataclass(frozen=True)
class ShiftTotal:
    """Counts of production modes in one occurrence of a shift, clipped to the scenario."""

    shift: str
    start: float
    end: float
    total: int
    scrap: int
    good: int


@dataclass(frozen=True)
class Transition:
    """A change of a PackML number; ``old`` and ``new`` as in the PLC."""

    t: float
    old: int
    new: int


@dataclass(frozen=True)
class AlarmTruth:
    """An alarm of the PLC (``id`` = its number) or of the heater (``id`` = high, low); ``cleared`` None: open at the end."""

    source: str
    id: str
    raised: float
    cleared: float | None


@dataclass(frozen=True)
class SampleTruth:
    """One sample; ``seq`` as in the boot numbered ``boot``."""

    k: int
    t: float
    serial: str
    weight: int
    verdict: str
    seq: int
    boot: int


@dataclass(frozen=True)
class CounterTruth:
    """A counter's register at both ends and how often it stepped."""

    name: str
    raw_first: int
    raw_last: int
    counted: int
    rollovers: tuple[float, ...]
    resets: tuple[float, ...]
    restarts: tuple[float, ...]


@dataclass(frozen=True)
class Energy:
    """The meter: whole register units, the exact energy, where the register wrapped."""

    units: int
    wh: float
    wh_per_unit: int
    wraps: tuple[float, ...]


@dataclass(frozen=True)
class Kpi:
    """ISO 22400 figures of one finished order: times in s, ``pri`` = planned run time per item."""

    order: str
    apt: float
    pbt: float
    pri: float
    pq: int
    gq: int
    availability: float
    effectiveness: float
    quality: float
    oee: float


@dataclass(frozen=True)
class Truth:
    """Everything that is compared, of one scenario."""

    name: str
    epoch: str
    length: float
    orders: tuple[Order, ...]
    no_order: tuple[NoOrder, ...]
    shifts: tuple[ShiftTotal, ...]
    downtimes: tuple[Downtime, ...]
    states: tuple[Transition, ...]
    state_changed: int
    state_changed_with_faults: int
    modes: tuple[Transition, ...]
    alarms: tuple[AlarmTruth, ...]
    samples: tuple[SampleTruth, ...]
    counters: tuple[CounterTruth, ...]
    energy: Energy
    kpis: tuple[Kpi, ...]
