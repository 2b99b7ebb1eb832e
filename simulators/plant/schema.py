"""The schema of a plant scenario (``version: 2``): devices and their tags as tables, and what happens as steps over time.

Times in the YAML are plant seconds since ``epoch``; in memory they are integer nanoseconds. A tag is named ``device.tag``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from simulators.schema import Faults, Reboot, Shift
from simulators.vocabulary import Epoch, Instant, Span, ZoneName

Plain = bool | int | float | str
Steps = tuple[tuple[Instant, Plain], ...]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Part):
    """One tag: an OPC UA node (``{slot}`` in it: one each of ``slots``), or a Modbus register; ``zero`` is what it shows before anything is set."""

    node: str | None = None
    type: str
    slots: int = Field(default=0, ge=0)
    address: int | None = Field(default=None, ge=0)
    zero: Plain = 0


class Device(_Part):
    """A server: what it speaks, and the configuration's environment variable for its port."""

    driver: Literal["opcua", "modbus"]
    port: str
    namespace: str = "urn:edge-agent:plant"
    heartbeat: str | None = Field(default=None, description="the tag that counts seconds, modulo 65536")
    unit_id: int = Field(default=1, ge=1, le=247)
    tags: dict[str, Item]


class Member(_Part):
    """What is being made: shown by ``tag``, or said by the MES under ``mes``."""

    tag: str | None = None
    mes: str | None = None
    steps: Steps


class Mes(_Part):
    """Where the MES retains what is to be made: a JSON object of the context's members that have ``mes``."""

    topic: str


class States(_Part):
    """The machine's states by the names an agent has to tell, what tags show in each, and which are downtimes, with their category."""

    shows: dict[str, dict[str, Plain]]
    downtime: dict[str, str] = Field(default_factory=dict)
    steps: tuple[tuple[Instant, str], ...]


class Stages(_Part):
    """How far the order is: waiting, running, paused, completed or aborted, and the numbers that ``tag`` shows for it."""

    tag: str
    codes: dict[str, int]
    steps: tuple[tuple[Instant, str], ...]


class Strokes(_Part):
    """The machine makes something at first, first + period, ..."""

    first: Instant
    period: Span
    count: int = Field(gt=0)


class Reasons(_Part):
    """Why parts are rejected: the codes in turn, shown in the scan in which the counter counts."""

    tag: str
    codes: tuple[int, ...]


class Counter(_Part):
    """A register that counts ``per`` after every ``every`` strokes, or (``of: nok``) the units of the ring that are not ok."""

    tag: str
    of: Literal["strokes", "nok"] = "strokes"
    disposition: Literal["total", "good", "scrap"] | None = None
    start: int = Field(default=0, ge=0)
    modulus: int = Field(default=2**32, gt=1)
    per: int = Field(default=1, gt=0)
    every: int = Field(default=1, gt=0)
    reasons: Reasons | None = None


class Ring(_Part):
    """Records of single units in a ring: each stroke makes one for each cavity; every ``nok_every``-th unit is not ok."""

    index: str
    size: int = Field(ge=2)
    modulus: int = 2**32
    cavities: int = Field(gt=0)
    serial: str
    nok_every: int = Field(gt=1)
    serial_tag: str
    cavity_tag: str
    result_tag: str


class Material(_Part):
    """A lot that goes in at one place, and how much of it a stroke takes; ``counted_by`` the tag where the machine counts that itself."""

    material: str
    lot: str
    steps: Steps
    qty: int = Field(gt=0)
    counted_by: str | None = None


class Parameter(_Part):
    """A recipe or a setpoint: its tag and values."""

    tag: str
    steps: Steps


class PlantScenario(_Part):
    """Everything that happens in a plant; all instants in ns since ``epoch``."""

    version: Literal[2]
    name: str
    epoch: Epoch
    length: Span
    time_zone: ZoneName
    config: str
    shifts: dict[str, Shift] = Field(default_factory=dict)
    devices: dict[str, Device]
    mes: Mes | None = None
    context: dict[str, Member] = Field(default_factory=dict)
    states: States
    stages: Stages | None = None
    strokes: tuple[Strokes, ...]
    counters: dict[str, Counter]
    cycle: str | None = None
    ring: Ring | None = None
    materials: dict[str, Material] = Field(default_factory=dict)
    recipe: Parameter | None = None
    setpoints: dict[str, Parameter] = Field(default_factory=dict)
    faults: Faults = Faults()

    @property
    def machine(self) -> _Power:
        """The power-offs of its PLC: none."""
        return _Power()


class _Power(_Part):
    reboots: tuple[Reboot, ...] = ()
