"""One device behind an endpoint: its blocks and trigger groups, whether it answers, and what is still to be told about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from edge_agent.drivers.modbus.bounds import Bounds
from edge_agent.drivers.modbus.breaker import Breaker
from edge_agent.drivers.modbus.config import ModbusConfig, fields_of, tags_of
from edge_agent.drivers.modbus.health import Health
from edge_agent.drivers.modbus.identity import REMEDY, Check
from edge_agent.drivers.modbus.losses import Losses
from edge_agent.drivers.modbus.plan import Block, plan
from edge_agent.drivers.modbus.split import ASK_AGAIN
from edge_agent.drivers.modbus.trigger import Group
from edge_agent.drivers.modbus.twice import NONE, ask_twice
from edge_agent.drivers.modbus.watch import Watch, add_row
from edge_agent.drivers.modbus.wire import BUSY, CONFIGURATION, FAILURE, RefusedError, Reply
from edge_agent.model.instant import NS
from edge_agent.model.reading import Batch, DeviceDown, DeviceFault, DeviceUp, GapReason, Notice, Snapshot, TagStatus
from edge_agent.ports import DeviceWiring, PollCounts

Ask = Callable[[Block], Awaitable[Reply]]


class Device:
    """State of one device on one connection. ``up`` is None until it answered or was given up for the first time.

    ``last_good`` is the plant time of the first answer of the last poll with a good value that was handed on: a poll that finds nothing new is as good a
    proof as one that does.
    """

    def __init__(self, config: ModbusConfig, wiring: DeviceWiring, *, shared: bool = False) -> None:
        """Plan the blocks; raises ConfigError when a trigger group cannot be read in one request.

        ``shared``: others are read over the same connection.
        """
        self.config = config
        self.name = config.device
        self.tags = tags_of(config)
        fields = fields_of(config)
        self.watches = [Watch(block, config.memory.of(block, config.limits, fields)) for block in plan(fields, config.limits)]
        self._groups = [Group.of(self.name, trigger, fields, self.watches, config.limits) for trigger in wiring.triggers]
        self._bounds = Bounds(fields, self.watches, wiring)
        self.turn = config.memory.turn(config.where)
        self.counts = PollCounts()
        self.up: bool | None = None
        self.last_good: int | None = None
        self.breaker = Breaker(config.timeout / NS, config.probe / NS, shared=shared)
        self.health = Health(self.name)
        self.identity = None if config.identity is None else Check(config, config.identity)
        self.stranger: str | None = None
        self.place: DeviceFault | None = None
        self._pending: list[Notice] = []
        self._losses = Losses(self.name)

    async def poll(self, watches: Sequence[Watch], ask: Ask, now: int) -> list[Batch]:
        """Read ``watches`` and the groups they trigger. Nothing counts before `answered` is told that all of it was handed on.

        SilentError, InvalidReplyError and DisconnectedError pass through: nothing of such a poll may be used, call `discard`.
        """
        polled = [(watch, await self._read(watch, ask, now)) for watch in watches]
        if self._bounds.crossed(polled):
            polled += [(watch, await self._read(watch, ask, now)) for watch in self._bounds.unread(watches)]
            self._bounds.join(polled)
        batches = [batch for _, parts in polled for batch in parts]
        for group in self._groups:
            parts = next((parts for watch, parts in polled if watch is group.watch), [])
            if parts and group.ask_again <= now and group.due():
                if group.block is None and group.watch.whole and group.watch.split.whole:
                    _add_snapshot(parts[0], group, None)
                else:
                    batches.append(await self._snapshot(group, group.read_apart(self.config.limits), ask, now))
        return batches

    async def _read(self, watch: Watch, ask: Ask, now: int) -> list[Batch]:
        """Read a block by one request, or by as many as it takes around what the device refuses."""
        batches, split = [], watch.split
        before = split.parts
        for block in split.questions(now):
            try:
                reply, unsteady = (await ask(block), NONE) if block.reads == 1 else await ask_twice(ask, block)
            except RefusedError as refusal:
                batches.append(self._refused(watch, block, refusal, now))
                if refusal.code not in CONFIGURATION and split.looks_for(block):
                    break  # no answer to what is looked for; the next poll asks again
            else:
                batches.append(self._answered(watch, block, reply, unsteady))
        if split.parts is not before:
            watch.joined()
        if batches and not split.whole:
            watch.remind(batches[-1])
            if split.parts is not before and not split.searching:
                parts = {"reads": [part.name for part in split.parts], "refused": [block.name for block, _ in split.bad]}
                structlog.get_logger().warning("modbus.split", device=self.name, block=watch.block.name, **parts)
        return batches

    def _answered(self, watch: Watch, block: Block, reply: Reply, unsteady: frozenset[int]) -> Batch:
        batch = Batch(self.name, reply.at, asked=reply.asked)
        self._judge(watch.name, None, reply.at)
        if watch.split.answered(block):
            batch.before = self._statuses(block, reply.at, None)
        watch.answered(reply.raw, batch, unsteady, block)
        return batch

    def _refused(self, watch: Watch, block: Block, refusal: RefusedError, now: int) -> Batch:
        """Turn an exception response into bad rows; what only a person can end is narrowed down, told once and asked for rarely."""
        batch, detail = Batch(self.name, refusal.at), f"{block.name}: {refusal}"
        self._judge(watch.name, refusal, refusal.at)
        if watch.split.tries(block):
            watch.split.refused(block, detail, now)
        elif refusal.code not in CONFIGURATION:
            watch.failed(detail, batch, block.fields)
        elif watch.split.refused(block, detail, now):
            watch.failed(detail, batch, block.fields)
            batch.before = self._statuses(block, refusal.at, detail)
        return batch

    def _judge(self, about: str, refusal: RefusedError | None, at: int) -> None:
        """Count what an answer says of the device itself; addresses that it does not have are told tag by tag."""
        if refusal is None and self.health.calm:
            return
        for code, codes in (("busy", BUSY), ("device_failure", FAILURE)):
            bad = refusal is not None and refusal.code in codes
            self.health.count(code, bad, f"{self.name}: {about}: {refusal}" if bad else "", at, about)

    async def _snapshot(self, group: Group, block: Block, ask: Ask, now: int) -> Batch:
        """Read a group by a request of its own. While the device refuses that, the group stays due."""
        try:
            reply, unsteady = await ask_twice(ask, block)
        except RefusedError as refusal:
            batch, detail = Batch(self.name, refusal.at), f"group {group.name}: {refusal}"
            group.ask_again = now + ASK_AGAIN if refusal.code in CONFIGURATION else now
            if group.refused != detail:
                group.refused = detail
                batch.before = self._statuses(block, refusal.at, detail)
            return batch
        batch = Batch(self.name, reply.at, asked=reply.asked)
        if group.refused is not None:
            group.refused = None
            batch.before = self._statuses(block, reply.at, None)
        _add_snapshot(batch, group, reply.raw, unsteady)
        return batch

    def _statuses(self, block: Block, at: int, trouble: str | None) -> tuple[TagStatus, ...]:
        return tuple(TagStatus(self.name, at, field.name, trouble is None, trouble or "") for field in block.fields)

    def answered(self, batches: list[Batch], watches: Sequence[Watch], *, room: bool) -> list[Batch]:
        """Take note of a whole poll and return what is to be handed on: batches with rows or notices, else one sign of life.

        Without ``room`` nothing is handed on: the rows are lost, their notices wait, and the loss is a gap up to the next poll with room.
        """
        if not batches:
            return []  # every block waits for its next try
        if not room:
            self._pending += [notice for batch in batches for notice in batch.before]
            self.lost("sampling_overrun", watches, 1, batches[0].received)
            self.forget()
            return []
        self.counts.polls += 1
        batches[0].before = (*self._facts(batches[0].received, watches), *batches[0].before)
        good = any(watch.good for watch in watches)
        for watch in watches:
            watch.handed_on = batches[0].received
        if good:
            self.last_good = batches[0].received  # between its first answer and its last a long poll may itself have missed points
        told = [batch for batch in batches if len(batch) or batch.before]
        return told or ([batches[-1]] if good else [])

    def _facts(self, at: int, watches: Sequence[Watch]) -> list[Notice]:
        """Return what is to be told before the rows of an answer at ``at`` to ``watches``, and consider it told."""
        facts: list[Notice]
        facts, self._pending = [*self._pending, *self.health.take()], []
        if self.up is not True:
            self.up, self.stranger = True, None
            self._losses.forget()  # from down to up is a gap already
            known = [] if self.identity is None else [DeviceFault(self.name, at, "replaced", True)]
            return [DeviceUp(self.name, at), *([] if self.place is None else [self.place]), *known, *facts]
        return [*facts, *self._losses.ended(watches, at, len(self.watches))]

    def lost(self, reason: GapReason, watches: Sequence[Watch], count: int, first: int) -> None:
        """Declare ``count`` polls of ``watches`` as a gap, up to their next answer; adds to a loss of the same kind that is still open.

        ``first`` is when the first of them was due, or failed: an answer that came late, and so after it, does not shorten the gap.
        """
        self._losses.add(reason, watches, count, first)

    def discard(self, reason: GapReason, watches: Sequence[Watch], now: int) -> None:
        """Drop what the current poll of ``watches`` brought: report everything anew with the next answer, and the gap up to it."""
        self.counts.discarded += 1
        self.lost(reason, watches, 1, now)
        self._doubt()

    def _doubt(self) -> None:
        """Begin anew with whatever answers next: every tag, every group, and who it is."""
        self.forget()
        for watch in self.watches:
            watch.split.look_again()
        for group in self._groups:
            group.forget()
        if self.identity is not None:
            self.identity.doubt()

    def forget(self) -> None:
        """Report every tag with the next answer, changed or not."""
        for watch in self.watches:
            watch.forget()

    def went_down(self, now: int, error: str) -> list[Batch]:
        """Give the device up: one notice, and bad rows where nothing was ever reported on this connection; nothing when it was down already."""
        was, self.up = self.up, False
        if was is False:
            return []
        good = self.last_good
        older = [] if good is None else self._losses.before(good, len(self.watches))
        batch = Batch(self.name, now, before=(*self._pending, *older, DeviceDown(self.name, now, good, error)))
        self._pending = []
        self._losses.forget()
        if was is None:
            for watch in self.watches:
                watch.failed(error, batch)
                watch.forget()
        return [batch]

    def replaced(self, now: int, text: str) -> list[Batch]:
        """Another device answers, as ``text`` says: every tag is bad, and a person is needed. Nothing when that was told already."""
        self._doubt()
        if self.stranger == text:
            return []
        self.stranger = text
        (batch,) = self.went_down(now, text) or [Batch(self.name, now)]
        if not len(batch):
            for watch in self.watches:
                watch.failed(text, batch)
                watch.forget()
        batch.before += (DeviceFault(self.name, now, "replaced", False, text, REMEDY, 900),)
        return [batch]


def _add_snapshot(batch: Batch, group: Group, raw: bytes | None, unsteady: frozenset[int] = NONE) -> None:
    start = len(batch)
    for index, sample in group.samples(raw, unsteady):
        add_row(batch, index, sample)
    batch.snapshots += (Snapshot(group.name, start, len(batch)),)
