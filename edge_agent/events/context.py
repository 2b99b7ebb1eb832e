"""What is being made: order, product and lot as the PLC names them, and the events when the order changes (ISA-95 job order).

Tags that change in one scan are one change of context. An order that changes from A to B in one sample was completed and another
started, at the same time. What changed while nobody looked carries the interval in which it can have happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.mescontext import DEVICE, MqttTopic, Topics
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase
from edge_agent.events.shift import order_totals, production_totals
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import AgentDown, DeviceDown, Quality, Reading, Recovered, Tag, Value

_MEMBERS = ("order", "product", "lot", "operator")
_JOB_STATES = {"started": "Running", "completed": "Ended.Completed"}  # OPC 10031-4, the states of a job order


class ContextConfig(BaseModel):
    """``context:`` of a unit: the tags, or topics of the MES, that name what is being made and by whom. An empty text, 0 and no value mean none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: str | MqttTopic | None = Field(default=None, description="device.tag, or {mqtt: TOPIC}")
    product: str | MqttTopic | None = Field(default=None, description="device.tag, or {mqtt: TOPIC}")
    lot: str | MqttTopic | None = Field(default=None, description="device.tag, or {mqtt: TOPIC}")
    operator: str | MqttTopic | None = Field(
        default=None, description="device.tag, or {mqtt: TOPIC}; a badge number says who worked when: ask before you collect it"
    )

    @property
    def refs(self) -> dict[str, str]:
        """The tag of each member that has one; a member from a topic has one of the device that stands for the MES."""
        named = {member: getattr(self, member) for member in _MEMBERS}
        return {
            member: source if isinstance(source, str) else f"{DEVICE}.{member}"
            for member, source in named.items()
            if source is not None
        }

    @property
    def topics(self) -> Topics:
        """The members that come from topics."""
        named = ((member, getattr(self, member)) for member in _MEMBERS)
        return Topics(tuple((member, source) for member, source in named if isinstance(source, MqttTopic)))


class ContextState(msgspec.Struct, frozen=True):
    """``known`` are the members seen at least once; ``base`` each counter's total when the order began (`order_totals`).

    ``blind`` is set from a loss of the order's device (or of the agent) to its next good sample: the UTC ns up to which the
    order is known.
    """

    known: tuple[str, ...] = ()
    order: str | None = None
    base: Mapping[str, int | float] = msgspec.field(default_factory=dict)
    blind: int | None = None


class ContextRule:
    """Keeps order, product and lot in the picture and emits ``order.started`` and ``order.completed``."""

    name = "context"
    phase = Phase.CONTEXT
    ticks = False
    version = 1
    state_type = ContextState

    def __init__(self, config: ContextConfig) -> None:
        """Listen to the tags of ``config``."""
        self._members = {ref: member for member, ref in config.refs.items()}
        self.tags = tuple(self._members)
        self.fingerprint = f"order={config.refs.get('order')}"
        self._order = config.refs.get("order")
        self._device = self._order.partition(".")[0] if self._order else None

    def initial(self) -> ContextState:
        """Nothing seen."""
        return ContextState()

    def step(self, state: ContextState, moment: Moment) -> tuple[ContextState, Outcome]:
        """Take over what changed in this moment, all at once; the first sample of the order is a baseline."""
        if moment.notices:
            state = self._blinded(state, moment)
        found = {
            member: _name_of(reading.value)
            for ref, member in self._members.items()
            if (reading := moment.readings.get(ref)) is not None and reading.quality is not Quality.BAD
        }
        if not found:
            return state, NOTHING
        old = moment.picture.context
        new = msgspec.structs.replace(old, **found)
        picture = {"context": new} if new != old else None
        if "order" not in found:
            return state, Outcome(picture=picture)
        state, events = self._order_seen(state, moment, old, new)
        return state, Outcome(events, picture=picture)

    def _blinded(self, state: ContextState, moment: Moment) -> ContextState:
        for notice in moment.notices:
            since = None
            if (
                isinstance(notice, Recovered)
                and notice.device == self._device
                and notice.covers((self._order or "").partition(".")[2])
            ):
                state = msgspec.structs.replace(state, blind=None)  # every change of the order comes, at its own time
            elif isinstance(notice, DeviceDown) and notice.device == self._device:
                since = notice.last_good
            elif isinstance(notice, AgentDown):
                since = notice.since
            if since is not None and state.known and state.blind is None:
                state = msgspec.structs.replace(state, blind=since)
        return state

    def _order_seen(
        self, state: ContextState, moment: Moment, old: Context, new: Context
    ) -> tuple[ContextState, tuple[ProductionEvent, ...]]:
        totals, own = production_totals(moment.picture), order_totals(moment.picture)
        if "order" not in state.known:
            return ContextState(known=("order",), order=new.order, base=own), ()
        if new.order == state.order:
            return (state if state.blind is None else msgspec.structs.replace(state, blind=None)), ()
        events: list[ProductionEvent] = []
        if state.order is not None:
            made = {name: round(total - state.base.get(name, 0), 9) for name, total in own.items()}
            before = msgspec.structs.replace(old, order=state.order)
            events.append(self._event("completed", moment, state.blind, before, {"totals_at": made, "totals": totals}))
        if new.order is not None:
            none_yet = dict.fromkeys(totals, 0)
            events.append(self._event("started", moment, state.blind, new, {"totals_at": none_yet, "totals": totals}))
        return ContextState(state.known, new.order, own), tuple(events)

    def _event(
        self, what: str, moment: Moment, blind: int | None, ctx: Context, counted: Mapping[str, Mapping[str, float]]
    ) -> ProductionEvent:
        reading: Reading = moment.readings[self._order or ""]
        data: dict[str, Any] = {
            "order": ctx.order,
            "operation": None,
            "product": ctx.product,
            "lot": ctx.lot,
            "state": _JOB_STATES[what],
            "source": "mes" if self._device == DEVICE else "plc",
            **counted,
        }
        return ProductionEvent(
            type=f"order.{what}",
            time=reading.at.best,
            data=data,
            ctx=ctx,
            at=reading.at,
            interval=None if blind is None else (min(blind, reading.at.best), reading.at.best),
            quality=reading.quality,
            correlation=ctx.order,
        )


def _name_of(value: Value | None) -> str | None:
    """Return an order, product or lot as text; None for what PLCs write when there is none."""
    if value is None or value is False or (isinstance(value, int | float) and value == 0):
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 \t\r\n") or None


def build(config: ContextConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[ContextRule, ...]:  # noqa: ARG001 - the convention of all rules
    """Return the rule of ``context:``."""
    return (ContextRule(config),)
