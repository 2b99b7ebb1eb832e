"""The members of ``data`` by type, for the events of production rules: what a schema of each type has to say.

Members that every type has (``ctx``, ``ts``, ``q``, ...) are not among them, nor ``spans`` and ``candidates``, which any event of parts
may carry when its context is not sure. Times inside are RFC 3339 texts, quantities are in the ``uom`` beside them (UNECE Rec 20).
"""

from __future__ import annotations

from typing import Any

import msgspec

Plain = bool | int | float | str | None
Number = int | float


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """A reason as the machine gave it; ``text`` None: no table knows the code. ``source``: the tag, or ``config``.

    ``mes`` and ``category`` come from the table. ``code`` None: the record of the scrap has none.
    """

    code: int | str | None
    text: str | None
    source: str
    mes: str | None = None
    category: str | None = None


class SourceKey(msgspec.Struct, forbid_unknown_fields=True):
    """The key that makes a record one: consumers keep it unique for each type. ``seq`` is the PLC's number, or, where it has none, the time in us."""

    device: str
    generation: int
    seq: int


class _Recorded(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What an event has that was handed over as a record; ``guarantee`` is there where the hand-over can lose one."""

    source_key: SourceKey | None = None
    guarantee: str | None = None


class _Counted(_Recorded, kw_only=True):
    """What an event has that tells of parts: the members of its context that are not sure, and what they can be."""

    spans: list[str] = []
    candidates: dict[str, list[str | None]] = {}


class CycleStarted(msgspec.Struct, forbid_unknown_fields=True):
    """``cycle.started``."""

    cycle_id: str
    cycle_no: Plain


class CycleCompleted(_Counted, kw_only=True):
    """``cycle.completed``: ``count`` cycles; the duration (s), result and params are those of one cycle."""

    cycle_id: str
    cycle_no: Plain
    count: int
    duration_s: Number | None
    ideal_s: Number | None
    parts: int | None
    cavities: Number | None
    result: str | None
    params: dict[str, Plain]


class Measurement(msgspec.Struct, forbid_unknown_fields=True):
    """One measured value of a unit."""

    name: str
    value: Plain
    uom: str | None
    lsl: Number | None = None
    usl: Number | None = None


class UnitProduced(_Counted, kw_only=True):
    """``unit.produced``: one serialised unit."""

    serial: str | None
    lot: str | None
    result: str | None
    station: str | None
    cycle_id: str | None
    measurements: list[Measurement]


class ScrapRecorded(_Counted, kw_only=True):
    """``scrap.recorded``: never added to ``production.count``."""

    qty: Number | None
    uom: str
    reason: Reason
    station: str | None
    serial: str | None


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``order.started``, ``paused``, ``resumed``, ``completed``, ``aborted``: ``totals_at`` since the order began, ``totals`` of the unit."""

    order: str
    operation: Plain
    product: str | None
    lot: str | None
    state: str
    source: str
    totals_at: dict[str, Number]
    totals: dict[str, Number]
    planned_qty: Number | None = None


class Setup(msgspec.Struct, forbid_unknown_fields=True):
    """``setup.started`` and ``setup.completed``."""

    setup_id: str
    from_product: str | None
    to_product: str | None
    duration_s: Number | None


class MaterialLotChanged(msgspec.Struct, forbid_unknown_fields=True):
    """``material.lot_changed``."""

    material: str | None
    lot_old: str | None
    lot_new: str | None
    position: str


class Into(msgspec.Struct, forbid_unknown_fields=True):
    """What material went into."""

    order: str | None
    lot: str | None
    serial: Plain


class MaterialConsumed(_Counted, kw_only=True):
    """``material.consumed``: ``lot_new`` is the lot that it came from."""

    material: str | None
    lot_new: str | None
    qty: Number | None
    uom: str
    position: str | None
    into: Into


class Parameter(msgspec.Struct, forbid_unknown_fields=True):
    """``recipe.changed`` and ``setpoint.changed``."""

    name: str
    old: Plain
    new: Plain
    uom: str | None
    by: Plain


class SpeedChanged(msgspec.Struct, forbid_unknown_fields=True):
    """``speed.changed``."""

    setpoint: Number | None
    actual: Number | None
    design: Number | None
    uom: str | None


class ToolChanged(msgspec.Struct, forbid_unknown_fields=True):
    """``tool.changed``: ``life_used`` is that of the tool that went."""

    place: str
    tool_id: str | None
    life_used: Number | None
    limit: Number | None
    uom: str
    tool_old: str | None


class CounterLimit(msgspec.Struct, forbid_unknown_fields=True):
    """``counter.limit``: the life of what is in ``place`` has reached its limit."""

    place: str
    tool_id: str | None
    life_used: Number | None
    limit: Number | None
    uom: str


class OperatorInput(_Recorded, kw_only=True):
    """``operator.input``."""

    kind: str
    value: Plain
    user: Plain


class QualityResult(_Counted, kw_only=True):
    """``quality.result``: ``verdict`` is ok, nok or unknown."""

    test_id: str
    characteristic: str
    value: Any
    uom: str | None
    lsl: Any
    usl: Any
    verdict: str
    unit: dict[str, Any]
    sample_no: Any


MEMBERS: dict[str, type[msgspec.Struct]] = {
    "cycle.started": CycleStarted,
    "cycle.completed": CycleCompleted,
    "unit.produced": UnitProduced,
    "scrap.recorded": ScrapRecorded,
    **dict.fromkeys(("order.started", "order.paused", "order.resumed", "order.completed", "order.aborted"), Order),
    **dict.fromkeys(("setup.started", "setup.completed"), Setup),
    "material.lot_changed": MaterialLotChanged,
    "material.consumed": MaterialConsumed,
    **dict.fromkeys(("recipe.changed", "setpoint.changed"), Parameter),
    "speed.changed": SpeedChanged,
    "tool.changed": ToolChanged,
    "counter.limit": CounterLimit,
    "operator.input": OperatorInput,
    "quality.result": QualityResult,
}
"""Which members ``data`` has, by the event's type."""
