"""The life of a job order, where the PLC tells more than its number: paused, resumed, aborted (ISA-95 job order; OPC 10031-4).

The order's number comes from the context; its state from a tag with a table, or from bits of which the first that is on holds. Where a
unit has this, it alone tells ``order.*``. A number that changes ends the order before it (completed) and, when the new one runs, starts it, at
the same time. A state that no table knows says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.events.mescontext import DEVICE
from edge_agent.events.orderconfig import OrdersConfig
from edge_agent.events.reference import check_references, device_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.shift import order_totals, production_totals
from edge_agent.events.sight import Change, Plain, Sight, heed, look, number_of, usable, value_of
from edge_agent.events.tables import code_of
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import Tag

_JOB_STATES = {
    "started": "Running", "resumed": "Running", "paused": "Interrupted.Held", "completed": "Ended.Completed", "aborted": "Aborted",
}  # fmt: skip
_OPEN = ("running", "paused")


class OrderMemory(msgspec.Struct, frozen=True):
    """The order and its stage as told last, the bits' last values, and each counter's total when the order began (`order_totals`).

    ``told`` is the stage that was told of this very order (None: nothing yet); ``planned`` and ``operation`` are what their tags said last.
    """

    order: Sight = Sight()
    stage: Sight = Sight()
    told: str | None = None
    bits: Mapping[str, bool] = msgspec.field(default_factory=dict)
    base: Mapping[str, int | float] = msgspec.field(default_factory=dict)
    planned: int | float | None = None
    operation: Plain = None


class OrderRule:
    """Tells ``order.started``, ``paused``, ``resumed``, ``completed`` and ``aborted``: order, operation, product, lot, planned_qty, state, source, totals_at, totals."""

    name = "orders"
    phase = Phase.CONTEXT
    ticks = False
    version = 1
    state_type = OrderMemory

    def __init__(self, config: OrdersConfig, order: str) -> None:
        """Read the stage by ``config``; ``order`` is the tag of the order's number, which the context rule takes over."""
        self._config, self._order = config, order
        self._stage_tags = (config.state,) if config.state is not None else tuple(bit.when for bit in config.bits)
        self.tags = tuple(dict.fromkeys((order, *config.references.values())))
        self.fingerprint = f"order={order} state={config.state} bits={' '.join(bit.when for bit in config.bits)}"

    def initial(self) -> OrderMemory:
        """Nothing seen."""
        return OrderMemory()

    def step(self, state: OrderMemory, moment: Moment) -> tuple[OrderMemory, Outcome]:
        """Fold one moment; the first sight of order and stage is a baseline."""
        stage = state.stage
        for ref in self._stage_tags:
            stage = heed(stage, ref or "", moment.notices)
        memory = msgspec.structs.replace(state, order=heed(state.order, self._order, moment.notices), stage=stage)
        memory, staged = self._staged(memory, moment)
        memory, numbered = self._numbered(memory, moment)
        events: list[ProductionEvent] = []
        if numbered is not None:
            memory = self._other_order(memory, numbered, moment, events)
        memory = self._asked_for(memory, moment)
        memory = self._go_on(memory, staged, numbered, moment, events)
        return (state if memory == state else memory), Outcome(tuple(events)) if events else NOTHING

    # -- what is seen --------------------------------------------------------------------------------------------

    def _staged(self, memory: OrderMemory, moment: Moment) -> tuple[OrderMemory, Change | None]:
        """Take in what the moment says of the stage."""
        found = [moment.readings[ref] for ref in self._stage_tags if ref in moment.readings and usable(moment.readings[ref])]
        if not found:
            return memory, None
        reading, stage = found[-1], None
        if self._config.state is not None:
            code = code_of(reading.value)
            stage = None if code is None else self._config.states.get(code)
        else:
            memory = msgspec.structs.replace(memory, bits={**memory.bits, **{one.tag: bool(one.value) for one in found}})
            if all(bit.when in memory.bits for bit in self._config.bits):
                stage = next((bit.is_ for bit in self._config.bits if memory.bits[bit.when]), self._config.otherwise)
        if stage is None:
            return memory, None
        sight, change = look(memory.stage, stage, reading)
        return msgspec.structs.replace(memory, stage=sight), change

    def _numbered(self, memory: OrderMemory, moment: Moment) -> tuple[OrderMemory, Change | None]:
        """Take in the order's number as the context rule has read it."""
        reading = moment.readings.get(self._order)
        if reading is None or not usable(reading):
            return memory, None
        sight, change = look(memory.order, moment.picture.context.order, reading)
        memory = msgspec.structs.replace(memory, order=sight)
        return memory, change

    def _asked_for(self, memory: OrderMemory, moment: Moment) -> OrderMemory:
        """Take in what is to be made: it stands there before the order starts, and is the next one's from its number on."""
        planned, operation = self._config.planned_qty, self._config.operation
        if planned in moment.readings:
            memory = msgspec.structs.replace(memory, planned=number_of(moment.readings, planned))
        if operation in moment.readings:
            memory = msgspec.structs.replace(memory, operation=value_of(moment.readings, operation))
        return memory

    # -- what is told --------------------------------------------------------------------------------------------

    def _other_order(self, memory: OrderMemory, change: Change, moment: Moment, events: list[ProductionEvent]) -> OrderMemory:
        """End the order before; nothing is told yet of the new one."""
        if memory.told in _OPEN and change.old is not None:
            ended = _last_word(memory, change)
            events.append(self._event(ended, change, memory, moment.before.context, str(change.old), moment))
        return msgspec.structs.replace(memory, told=None, base={})

    def _go_on(
        self,
        memory: OrderMemory,
        staged: Change | None,
        numbered: Change | None,
        moment: Moment,
        events: list[ProductionEvent],
    ) -> OrderMemory:
        """Tell the stage of the order that is there, where it is another one than was told."""
        order, stage, change = memory.order.value, memory.stage.value, staged or numbered
        if not memory.order.known or order is None or not memory.stage.known or stage == memory.told:
            return memory
        if change is None:  # the first sight of both is a baseline
            if memory.told is None:
                memory = msgspec.structs.replace(memory, told=str(stage), base=order_totals(moment.picture))
            return memory
        word = _word(memory.told, str(stage))
        if staged is None and stage in {"completed", "aborted"}:
            word = None  # that was said of the order before
        if word == "started" or (memory.told not in _OPEN and stage == "paused"):
            memory = msgspec.structs.replace(memory, base=order_totals(moment.picture))
        if word is not None:
            events.append(self._event(word, change, memory, moment.picture.context, str(order), moment))
        return msgspec.structs.replace(memory, told=str(stage))

    def _event(self, word: str, change: Change, memory: OrderMemory, ctx: Context, order: str, moment: Moment) -> ProductionEvent:
        own = order_totals(moment.picture)
        made = {name: round(total - memory.base.get(name, 0 if word == "started" else total), 9) for name, total in own.items()}
        ctx = msgspec.structs.replace(ctx, order=order)
        data: dict[str, Any] = {
            "order": order,
            "operation": memory.operation,
            "product": ctx.product,
            "lot": ctx.lot,
            "planned_qty": memory.planned,
            "state": _JOB_STATES[word],
            "source": "mes" if device_of(self._order) == DEVICE else "plc",
            "totals_at": made,
            "totals": production_totals(moment.picture),
        }
        return ProductionEvent(
            type=f"order.{word}",
            time=change.time,
            data=data,
            ctx=ctx,
            at=change.reading.at,
            interval=change.interval,
            quality=change.reading.quality,
            correlation=order,
            late=moment.late,
        )


def _last_word(memory: OrderMemory, change: Change) -> str:
    """Return how an order ended whose number went: aborted where its state says so in the same moment."""
    return "aborted" if memory.stage.value == "aborted" and memory.stage.since == change.time else "completed"


def _word(told: str | None, stage: str) -> str | None:
    """Return what a stage is told by, after the stage ``told``; None: it has no event."""
    if stage == "running":
        return "resumed" if told == "paused" else "started"
    if stage == "paused":
        return "paused"
    if stage in {"completed", "aborted"}:
        return stage if told not in {"completed", "aborted"} else None
    return None


class Silenced:
    """A rule without its ``order.*``: another one tells them."""

    def __init__(self, rule: Rule[Any]) -> None:
        """Wrap ``rule``."""
        self._rule = rule
        self.name, self.phase, self.tags, self.ticks = rule.name, rule.phase, rule.tags, rule.ticks
        self.version, self.fingerprint, self.state_type = rule.version, rule.fingerprint, rule.state_type

    def initial(self) -> Any:
        """As the rule itself."""
        return self._rule.initial()

    def step(self, state: Any, moment: Moment) -> tuple[Any, Outcome]:
        """Fold one moment; orders are not told."""
        state, outcome = self._rule.step(state, moment)
        if not any(event.type.startswith("order.") for event in outcome.events):
            return state, outcome
        kept = tuple(event for event in outcome.events if not event.type.startswith("order."))
        return state, Outcome(kept, outcome.effects, outcome.picture)


def build(config: OrdersConfig, *, unit: str, tags: Mapping[str, Tag], order: str | None) -> tuple[Rule[Any], ...]:
    """Return the rule of ``orders:``. Raises ValueError for an unknown tag, and where the context names no order."""
    if order is None:
        raise ValueError(f"unit {unit}, orders: there is no order whose life could be told; add context: {{order: device.tag}}")
    check_references([(f"unit {unit}, orders.{place}", ref) for place, ref in config.references.items()], tags)
    return (OrderRule(config, order),)
