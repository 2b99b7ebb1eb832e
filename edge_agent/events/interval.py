"""Intervals of consumption: what one holds, how it is closed, and whom it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_agent.events.belonging import Bounds, Place
from edge_agent.events.crossing import Change
from edge_agent.events.registers import interval_text
from edge_agent.events.rule import Moment
from edge_agent.events.shift import in_units
from edge_agent.events.tally import Tally
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Quality, Timestamps

_JOULES = {"JOU": 1.0, "KJO": 1e3, "3B": 1e6, "GV": 1e9, "WHR": 3600.0, "KWH": 3.6e6, "MWH": 3.6e9, "GWH": 3.6e12}
"""Joules of the energy units of UNECE Rec 20; quantities of air or water have no power."""


class EnergyState(msgspec.Struct, frozen=True):
    """The register's tally, and the open interval.

    It began at ``opened`` (UTC ns, None: no baseline yet) in the context ``place``; ``pending`` raw units were counted in it, some of them
    across a loss (``recovered``) or from uncertain samples. ``lost`` = the context before a loss that a change of order or shift fell
    into: what the next sample tells belongs to neither for sure. ``across`` are
    further contexts of that. ``changes`` are those of the order that no sample came with, ``seen`` is from when
    the last sample is (agent's UTC ns).
    """

    tally: Tally = Tally()
    opened: int | None = None
    place: Place = Place()
    lost: Place | None = None
    pending: int = 0
    recovered: bool = False
    uncertain: bool = False
    across: tuple[Place, ...] = ()
    changes: tuple[Change, ...] = ()
    seen: int = 0

    @property
    def usable(self) -> bool:
        """Whether the register is known to stand where the last sample saw it."""
        return self.tally.last is not None and self.tally.good and not self.tally.broken and self.tally.held is None


@dataclass(frozen=True)
class Meter:
    """What the events of a meter say of it, and the clock grid (ns) at which its intervals close."""

    label: str
    carrier: str
    uom: str
    scale: float
    every: int

    def grid(self, time: int) -> int:
        """Return the first instant of the clock grid after ``time``."""
        return (time // self.every + 1) * self.every

    def told(self, state: EnergyState, opened: int, end: int, candidates: dict[str, list[str | None]]) -> dict[str, Any]:
        """Return the data of ``energy.consumed``; ``raw_delta`` and ``raw`` in register units, exactly."""
        delta = in_units(state.pending, self.scale)
        joules = _JOULES.get(self.uom)
        data: dict[str, Any] = {
            "meter": self.label,
            "carrier": self.carrier,
            "delta": delta,
            "total": in_units(state.tally.total, self.scale),
            "uom": self.uom,
            "interval": interval_text(opened, end),
            "avg_power_w": None if joules is None else round(delta * joules / ((end - opened) / NS), 3),
            "raw": str(state.tally.last),
            "raw_delta": state.pending,
            "spans": list(candidates),
        }
        return {**data, "candidates": candidates} if candidates else data


def closed(
    meter: Meter, state: EnergyState, end: int, here: Place, *, moment: Moment, at: Timestamps | None
) -> tuple[EnergyState, tuple[ProductionEvent, ...]]:
    """Close the interval at ``end`` (UTC ns) and open the next in ``here``.

    One of no length is not closed: what is pending in it goes on in the same context.
    """
    if state.opened is None or end <= state.opened:
        return (state if state.pending else changed(state, place=here)), ()
    ctx, candidates = _owner(state, here)
    event = ProductionEvent(
        type="energy.consumed",
        time=end,
        data=meter.told(state, state.opened, end, candidates),
        ctx=ctx,
        at=at,
        interval=(state.opened, end),
        quality=Quality.UNCERTAIN if state.uncertain else Quality.GOOD,
        derivation="recovered" if state.recovered else "observed",
        late=moment.late,
        correlation=ctx.order,
    )
    return EnergyState(state.tally, end, here, changes=state.changes, seen=state.seen), (event,)


def _owner(state: EnergyState, here: Place) -> tuple[Context, dict[str, list[str | None]]]:
    """Return the context of the open interval, and the candidates where a loss hides which it was.

    It is the one it was opened in, with what was not known yet then (the lot of an order comes a moment after the order).
    """
    if state.lost is not None:
        return Bounds(state.place, state.lost, state.place).owner(state.place, recovered=True, stamped=True, across=state.across)
    then, now = state.place.ctx, here.ctx
    if now.order != then.order:
        return then, {}
    late = {key: value for key, value in msgspec.structs.asdict(now).items() if getattr(then, key) is None}
    return msgspec.structs.replace(then, **late), {}


def changed(state: EnergyState, **fields: Any) -> EnergyState:
    """Return ``state`` with other ``fields``, the very same object where they are not other ones."""
    if all(getattr(state, name) == value for name, value in fields.items()):
        return state
    return msgspec.structs.replace(state, **fields)
