"""The schema of a scenario: what can be said about a line, as checked data.

Times in the YAML are plant seconds since ``epoch``; in memory they are integer nanoseconds, so that no sum ever rounds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators.vocabulary import SECOND, ClockTime, Epoch, Instant, Mode, Span, State, Window, Windows, ZoneName


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shift(_Part):
    """A shift in local time; an end before its start is the next day's. ``dst``: which is meant where a boundary comes twice."""

    start: ClockTime
    end: ClockTime
    dst: Literal["first", "second"] = "first"


class Reboot(_Part):
    """The PLC is without power in [off, on)."""

    off: Instant
    on: Instant


class Machine(_Part):
    """The state machine's script and what it shows of itself."""

    set_speed: float
    design_speed: float
    boot_count: int = Field(ge=0, lt=2**32 - 1000)
    acc_time: int = Field(ge=0, lt=2**30)
    production_modes: tuple[Mode, ...]
    modes: tuple[tuple[Instant, Mode], ...]
    states: tuple[tuple[Instant, State], ...]
    starved: Windows = ()
    blocked: Windows = ()
    reboots: tuple[Reboot, ...] = ()


class Context(_Part):
    """A change of order, product or lot; None leaves a tag as it is."""

    at: Instant
    order: str | None = None
    product: str | None = None
    lot: str | None = None


class Counter(_Part):
    """A counter's first value and the number that follows its largest value as 0."""

    start: int = Field(ge=0)
    modulus: int = Field(gt=1)

    @model_validator(mode="after")
    def _start_fits(self) -> Self:
        if self.start >= self.modulus:
            raise ValueError("start must be below modulus")
        return self


class Counters(_Part):
    """Both counters; they are zeroed together."""

    total: Counter
    scrap: Counter
    zeroed_at: tuple[Instant, ...] = ()


class DryCycles(_Part):
    """Counts without a bottle at start, start + period, ..."""

    start: Instant
    period: Span
    count: int = Field(gt=0)


class Bottles(_Part):
    """When the machine counts."""

    first: Instant
    period: Span
    reject_every: int = Field(gt=0)
    dry_cycles: tuple[DryCycles, ...] = ()


class Alarm(_Part):
    """One alarm in its PackML slot, from raised to cleared (None: to the end or to the power-off)."""

    slot: int = Field(ge=0, le=3)
    id: int = Field(gt=0)
    value: int = 0
    message: str = ""
    raised: Instant
    cleared: Instant | None = None


class StopReason(_Part):
    """StopReason as it latches ``delay`` after the stop and is cleared later."""

    stop: Instant
    delay: Instant
    id: int = Field(gt=0)
    value: int = 0
    cleared: Instant


class Weight(_Part):
    """Weight of sample k in gram: base + (k mod modulo)."""

    base: int
    modulo: int = Field(gt=0)


class Records(_Part):
    """The check weigher's samples: k = 1..count at first + (k-1) * period."""

    first: Instant
    period: Span
    count: int = Field(ge=0)
    serial: str
    weight: Weight
    nok_from: int


class Power(_Part):
    """Active power in W by state."""

    off: int = Field(ge=0)
    default: int = Field(ge=0)
    states: dict[State, int]


class Meter(_Part):
    """The energy register: its unit, first value and modulus."""

    unit_id: int = Field(ge=1, le=247)
    start: int = Field(ge=0)
    modulus: int = Field(gt=1, le=2**32)
    wh_per_unit: int = Field(gt=0)
    status: int = Field(default=0, ge=0, lt=2**16)


class Heater(_Part):
    """PV in CEL = mean + amplitude * sin(t / divisor), and the windows of its status bits."""

    unit_id: int = Field(ge=1, le=247)
    mean: float
    amplitude: float
    divisor: float = Field(gt=0)
    setpoint: float
    breaks: Windows = ()
    high: Windows = ()
    low: Windows = ()

    @model_validator(mode="after")
    def _fits_the_register(self) -> Self:
        highest = max(abs(self.mean) + abs(self.amplitude), abs(self.setpoint))
        if round(10 * highest) >= 32767:
            raise ValueError(
                f"{highest:g} CEL does not fit the register: int16 in steps of 0.1 ends at 3276.6 (3276.7 is a broken sensor)"
            )
        return self


class Judge(_Part):
    """The one setting of the reader that the truth depends on: a downtime shorter than this is a micro stop."""

    micro_stop: Span


class BadStatus(_Part):
    """A counter answers with a Bad status and a null value."""

    tag: Literal["total", "scrap"]
    window: Window
    status: str = "BadSensorFailure"


class Faults(_Part):
    """What the test harness injects, only on request."""

    link_cuts: Windows = ()
    agent_kills: Windows = ()
    broker_stops: Windows = ()
    bad_status: tuple[BadStatus, ...] = ()
    dropped_acks: tuple[int, ...] = ()
    reraise_after: Span = 2 * SECOND


class Scenario(_Part):
    """Everything that happens on the line; all instants in ns since ``epoch``."""

    version: Literal[1]
    name: str
    epoch: Epoch
    length: Span
    time_zone: ZoneName
    shifts: dict[str, Shift]
    machine: Machine
    context: tuple[Context, ...]
    counters: Counters
    bottles: Bottles
    alarms: tuple[Alarm, ...] = ()
    stop_reasons: tuple[StopReason, ...] = ()
    records: Records
    power: Power
    meter: Meter
    heater: Heater
    judge: Judge
    faults: Faults = Faults()

    @property
    def epoch_ns(self) -> int:
        """The UTC time of t=0 in ns since 1970."""
        whole = int((self.epoch - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
        return whole * SECOND + self.epoch.microsecond * 1000

    @property
    def boots(self) -> tuple[int, ...]:
        """The instants at which the PLC boots, t=0 first."""
        return (0, *(reboot.on for reboot in self.machine.reboots))

    def is_on(self, t: int) -> bool:
        """Say whether the PLC has power at t."""
        return not any(reboot.off <= t < reboot.on for reboot in self.machine.reboots)
