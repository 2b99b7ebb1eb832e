"""Downtimes: contiguous stretches in which a machine in a production mode does not run.

A downtime opens when the machine leaves running, and is told at once, so that a crash cannot lose it; what is only learned later (the
reason that latches after the stop, the flag that comes after the state) goes into ``downtime.reason`` and into ``downtime.ended``,
under the same id. Whether a downtime was planned is for the MES to say. Unknown opens none and ends none: when the machine was found
in another state afterwards, the event carries the interval in which it happened. Leaving production ends one; where it comes back and the
machine still does not run, a new one opens at the mode change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.downtimememory import DowntimeMemory
from edge_agent.events.reference import check_references
from edge_agent.events.rule import Moment, Outcome, Phase, Rule
from edge_agent.events.state import StateConfig, table_of
from edge_agent.events.stoppage import Stoppage
from edge_agent.events.tables import StateTable
from edge_agent.model.reading import Tag


class DowntimeConfig(BaseModel):
    """``downtime:`` of a unit: in which stops a downtime is opened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: Literal["always", "with_order"] = Field(default="always", description="with_order: only while an order is active")


class DowntimeRule:
    """Tells ``downtime.started``, ``downtime.reason`` and ``downtime.ended`` and keeps the open one's id in the picture."""

    name = "downtime"
    phase = Phase.DOWNTIME
    ticks = True
    version = 1
    state_type = DowntimeMemory

    def __init__(self, config: DowntimeConfig, state: StateConfig, table: StateTable, *, order: str | None = None) -> None:
        """Follow the states of ``state``; ``order`` is the tag of the order where there is one."""
        reason = state.reason.tag if state.reason is not None else None
        refs = (*state.signals, state.mode, state.starved, state.blocked, reason, order)
        self.tags = tuple(ref for ref in refs if ref is not None)
        self.fingerprint = f"{state.source} {table.model}"
        self._config = config
        self._state = state
        self._table = table

    def initial(self) -> DowntimeMemory:
        """Nothing seen, nothing open."""
        return DowntimeMemory()

    def step(self, state: DowntimeMemory, moment: Moment) -> tuple[DowntimeMemory, Outcome]:
        """Fold one moment: first what ends a downtime from outside, then the states, then what explains it."""
        work = Stoppage(state, moment, self._state, self._table, with_order=self._config.when == "with_order")
        work.take_tags()
        work.leave_production()
        for event in moment.events:
            if event.type == "state.changed":
                work.changed(event)
        work.enter_production()
        work.settle()
        downtime = work.memory.open.id if work.memory.open is not None else None
        picture = {"downtime": downtime} if downtime != moment.picture.downtime else None
        return (state if work.memory == state else work.memory), Outcome(tuple(work.events), picture=picture)


def build(
    config: DowntimeConfig | None, state: StateConfig, *, unit: str, tags: Mapping[str, Tag], order: str | None = None
) -> tuple[Rule[Any], ...]:
    """Return the downtime rule of ``unit``; ``order`` is the tag of its order, for ``when: with_order``. Raises ValueError."""
    check_references([(f"unit {unit}, context.order", order)], tags)
    return (DowntimeRule(config or DowntimeConfig(), state, table_of(state), order=order),)
