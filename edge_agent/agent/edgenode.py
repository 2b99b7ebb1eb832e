"""What an edge node tells of the agent: the units' mirrors, and a cursor into each stream for what waits while nobody listens.

The store's custody is not touched: the cursors stand among the states of the output, and move only when the broker has read everything before them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from edge_agent import __version__
from edge_agent.agent.mirror import UnitMirror
from edge_agent.model.errors import StorageError
from edge_agent.model.stream import Checkpoint
from edge_agent.ports import ArchiveBuffer, PlantClock
from edge_agent.publish.sparkplug.feed import Described, News
from edge_agent.publish.sparkplug.mapping import Values
from edge_agent.publish.sparkplug.metric import Change, DataType, Metric, Sample

_KEEP = 10.0
"""Machine seconds between two notes in the store of how far the broker has everything."""

_CURSORS, _ALARMS, _BDSEQ = "cursors", "alarms", "bdseq"


class Cursor(NamedTuple):
    """Up to which number of a stream everything was told."""

    epoch: str
    seq: int


Cursors = dict[str, Cursor]
_Heads = Mapping[str, tuple[int, int, int]]


class NodeFeed:
    """A `Feed` over ``mirrors``. ``owner`` names the output's states in the store, ``backlog`` is how many events of a unit go into one message."""

    def __init__(
        self, buffer: ArchiveBuffer, clock: PlantClock, mirrors: Sequence[UnitMirror], *, owner: str, cfg: str, backlog: int
    ) -> None:
        """Tell of ``mirrors``; `load` comes first."""
        self._buffer, self._clock, self._mirrors = buffer, clock, mirrors
        self._owner, self._cfg, self._backlog = owner, cfg, backlog
        self._at: Cursors = {}
        self._told: Cursors = {}
        self._confirmed: Cursors = {}
        self._stored: Cursors = {}
        self._bdseq: int | None = None
        self._kept = 0.0
        self._began = clock.now()
        self._log = structlog.get_logger().bind(output=owner)

    async def load(self) -> None:
        """Read what an earlier run left. Raises StorageError."""
        states, _ = await self._buffer.states(self._owner)
        try:
            if _CURSORS in states:
                self._stored = msgspec.msgpack.decode(states[_CURSORS], type=Cursors)
                self._confirmed = dict(self._stored)
            if _ALARMS in states:
                known = msgspec.msgpack.decode(states[_ALARMS], type=dict[str, list[str]])
                for mirror in self._mirrors:
                    mirror.alarms |= set(known.get(mirror.device, ()))
            self._bdseq = int(states[_BDSEQ]) if _BDSEQ in states else None
        except (msgspec.MsgspecError, ValueError):
            self._log.warning("sparkplug.state_unreadable", meaning="the backlog of before is not told, births are numbered from 0")

    async def next_bdseq(self) -> int:
        """Return the number for the next CONNECT, on disk already where there is a disk (tck-id-topics-nbirth-bdseq-increment)."""
        self._bdseq = 0 if self._bdseq is None else (self._bdseq + 1) % 256
        await self._store({_BDSEQ: str(self._bdseq).encode()})
        return self._bdseq

    async def keep(self) -> None:
        """Note in the store how far the broker has everything, if that has changed."""
        self._kept = time.monotonic()
        if self._confirmed != self._stored:
            self._stored = dict(self._confirmed)
            alarms = {mirror.device: sorted(mirror.alarms) for mirror in self._mirrors if mirror.alarms}
            await self._store({_CURSORS: msgspec.msgpack.encode(self._stored), _ALARMS: msgspec.msgpack.encode(alarms)})

    async def _store(self, states: dict[str, bytes]) -> None:
        try:
            await self._buffer.append([], Checkpoint(self._owner, states, self._clock.now()))
        except StorageError as error:  # told by the buffer, too; the mirror goes on, and a restart may repeat a little
            self._log.error("sparkplug.not_stored", reason=str(error))

    # -- Feed ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the plant's time."""
        return self._clock.now()

    def node(self) -> Described:
        """Return what is true of the agent as a whole."""
        facts = {"Properties/Software": "edge-agent", "Properties/Version": __version__, "Agent/CfgHash": self._cfg}
        return [(Metric(name, DataType.STRING), Sample(value, self._began)) for name, value in facts.items()]

    async def births(self, *, again: bool) -> Sequence[News]:
        """Return the births of all units that answer; the streams go on where they were told (``again``) or confirmed."""
        heads = await self._heads()
        for mirror in self._mirrors:  # who was never told of a stream begins with its present
            self._confirmed.setdefault(mirror.device, Cursor(self._buffer.epoch, heads.get(mirror.device, (1, 0, 0))[1]))
            mirror.shown = False
        self._at = dict(self._told if again else self._confirmed)
        self._told = dict(self._at)
        return [self._birth(mirror, heads) for mirror in self._mirrors if mirror.alive]

    async def news(self) -> Sequence[News]:
        """Return what has come, gone or changed since the last call."""
        seen = {mirror.device: mirror.look() for mirror in self._mirrors}
        heads = await self._heads()
        found: list[News] = []
        for mirror in self._mirrors:
            if mirror.shown != mirror.alive:
                found.append(self._birth(mirror, heads) if mirror.alive else self._death(mirror))
            if not mirror.shown:
                continue
            changes, outgrown = await self._course(mirror, heads)
            if outgrown or mirror.outgrown:
                found += [News("data", mirror.device, changes=changes), self._death(mirror), self._birth(mirror, heads)]
                continue
            told = [change.metric.name for change in changes if not change.historical]
            changes += mirror.present(seen[mirror.device], self.now(), self._place(mirror, heads), told)
            if changes:
                found.append(News("data", mirror.device, changes=changes))
        if time.monotonic() - self._kept > _KEEP:
            await self.keep()
        return found

    def told(self) -> None:
        """Everything returned has left."""
        self._told = dict(self._at)

    def place(self) -> Cursors:
        """Return how far it was told."""
        return self._told

    def confirmed(self, place: Cursors) -> None:
        """The broker has read everything up to ``place``."""
        self._confirmed = dict(place)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _birth(self, mirror: UnitMirror, heads: _Heads) -> News:
        return News("birth", mirror.device, mirror.born(self.now(), self._place(mirror, heads)))

    def _death(self, mirror: UnitMirror) -> News:
        mirror.shown = False
        return News("death", mirror.device)

    def _place(self, mirror: UnitMirror, heads: _Heads) -> Values:
        """Return where the unit's stream stands: a host that counts along sees what it lacks."""
        if mirror.device not in heads:
            return {}
        _, last, published = heads[mirror.device]
        return {"Stream/Epoch": self._buffer.epoch, "Stream/Seq": last, "Stream/PublishedSeq": published}

    async def _heads(self) -> _Heads:
        try:
            return await self._buffer.heads()
        except StorageError as error:
            self._log.debug("sparkplug.waits", reason=str(error))  # the buffer has told the log that it is in trouble
            return {}

    async def _course(self, mirror: UnitMirror, heads: _Heads) -> tuple[list[Change], bool]:
        """Return what the unit's stream says beyond the cursor, a message's worth of it; and whether a new birth has to come before the rest."""
        if mirror.device not in heads:
            return [], False
        first, last, _ = heads[mirror.device]
        cursor = self._at.get(mirror.device)
        if cursor is None or cursor.epoch != self._buffer.epoch:
            cursor = Cursor(self._buffer.epoch, 0)
        if cursor.seq + 1 < first and last >= first:
            self._log.warning("sparkplug.backlog_expired", unit=mirror.device, seq_from=cursor.seq + 1, seq_to=first - 1)
            cursor = Cursor(cursor.epoch, first - 1)
        self._at[mirror.device] = cursor
        if cursor.seq >= last:
            return [], False
        try:
            page = await self._buffer.kept(mirror.device, cursor.epoch, cursor.seq + 1, last, self._backlog)
        except StorageError as error:
            self._log.debug("sparkplug.waits", reason=str(error))  # as in `_heads`
            return [], False
        changes, used = mirror.course(page.records)
        outgrown = used < len(page.records)
        reached = page.records[used - 1].key.seq if outgrown and used else cursor.seq if outgrown else page.position
        self._at[mirror.device] = Cursor(cursor.epoch, reached)
        return changes, outgrown
