"""Keeps the retained topics true: the agent's status, each unit's ``_state`` and ``_meta``, each stream's checkpoint.

They are built when they are sent and take no number: they describe, they do not count. ``_state`` carries an expiry and is refreshed, so that
the "running" of a dead agent evaporates instead of lying.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from edge_agent.agent.base import Bases
from edge_agent.agent.collect import Collector
from edge_agent.agent.envelope import agent_stream
from edge_agent.agent.origin import Resume
from edge_agent.agent.presence import Presence
from edge_agent.agent.unit import Unit
from edge_agent.events import snapshot
from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.errors import RejectedError, StorageError
from edge_agent.model.instant import iso
from edge_agent.ports import Buffer, Document, PlantClock, Sink
from edge_agent.publish.topics import Topics
from edge_agent.status.presence import AgentStatus, Word, lasting, packed

_REFRESH = 10.0
"""Machine seconds between refreshes of ``_state`` and checkpoints when nothing changes."""

_SPACING = 0.5
"""Least machine seconds between two ``_state`` messages of a unit."""

_EXPIRY = 30
"""``_state`` expires after three refreshes."""


class Announcer:
    """Publishes the documents of one agent while a sink is open."""

    def __init__(
        self,
        buffer: Buffer,
        clock: PlantClock,
        topics: Topics,
        units: Mapping[EquipmentPath, Unit],
        collectors: Sequence[Collector],
        session: str,
    ) -> None:
        """Describe ``units`` (by their place in the plant) and ``collectors``; ``session`` names this run of the agent."""
        self._buffer = buffer
        self._clock = clock
        self._topics = topics
        self._units = units
        self._collectors = collectors
        self.presence = Presence(topics.agent, session, buffer, clock, units.values())
        self._log = structlog.get_logger()
        self.meta: Callable[[Unit], bytes] = lambda _: b"{}"
        self._runs: Callable[[], Awaitable[tuple[str, ...]]] = _no_runs
        self._bases = Bases(clock)
        self._rebasing = asyncio.Lock()
        self._began = time.monotonic()
        self._gone: list[EquipmentPath] = []
        self._anew = False

    def renew(self, units: Mapping[EquipmentPath, Unit], collectors: Sequence[Collector], meta: Callable[[Unit], bytes]) -> None:
        """Describe others from now on; of places where no unit is any more what the broker keeps is taken away."""
        self._gone = [*(path for path in (*self._gone, *self._units) if path not in units)]
        self._bases.forget({unit.name for unit in self._units.values()} - {unit.name for unit in units.values()})
        self._units, self._collectors, self.meta, self._anew = units, collectors, meta, True
        self.presence.units = tuple(units.values())

    def go_on(self, runs: Callable[[], Awaitable[tuple[str, ...]]], resumes: Mapping[str, Resume]) -> None:
        """From now on checkpoints name what ``runs`` returns; ``resumes`` are what units stood on in the last ones, until there is newer.

        ``runs`` is asked each time: a store that is replaced while the agent runs (damage) has runs of its own.
        """
        self._runs = runs
        self._bases.go_on(resumes)

    def status(self, word: Word) -> AgentStatus:
        """Return what the agent says of itself (``online`` or ``offline``)."""
        return self.presence.status(word, {name: state for each in self._collectors for name, state in each.devices.items()})

    async def tell(self, sink: Sink, status: AgentStatus) -> None:
        """Send a status. The will is a document of its own, written at connect."""
        await self.send(sink, Document(self._topics.status, packed(status)))

    def will(self) -> Document:
        """Return what the broker says when this session dies."""
        return Document(self._topics.status, msgspec.json.encode(self.presence.will()))

    async def send(self, sink: Sink, document: Document) -> None:
        """Send one document; one that the broker will never take is told to the log, and everything else goes on."""
        try:
            await sink.announce(document)
        except RejectedError as error:
            self._log.error("announce.rejected", topic=document.topic, reason=str(error))

    async def out_of_order(self, sink: Sink, opened: Callable[[], Awaitable[None]]) -> None:
        """Say nothing but the status until the store can be opened: that the agent lives, and that it keeps everything in memory."""
        while True:
            await self.presence.look()
            await self.tell(sink, self.status("online"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH):
                    await opened()
                return

    async def birth(self, sink: Sink) -> None:
        """Announce everything once, in the order a subscriber needs it: status, meta, state."""
        await self.presence.look()
        await self.tell(sink, self.status("online"))
        await self._descriptions(sink)
        await self._states(sink)
        await self.checkpoints(sink)

    async def _descriptions(self, sink: Sink) -> None:
        self._anew = False
        for path in self._gone:
            for topic in (self._topics.state(path), self._topics.meta(path)):
                await self.send(sink, Document(topic, b""))  # an empty message ends what is retained (MQTT 5.0, 3.3.1.3)
        self._gone = []
        for path, unit in self._units.items():
            await self.send(sink, Document(self._topics.meta(path), self.meta(unit)))

    async def farewell(self, sink: Sink) -> None:
        """Say goodbye: last states and checkpoints, then status offline, so that nobody waits for the will."""
        await self._states(sink)
        await self.checkpoints(sink)
        await self.tell(sink, self.status("offline"))

    async def run(self, sink: Sink) -> None:
        """Keep the documents current until cancelled."""
        refreshed = time.monotonic()
        status = self.status("online")
        while True:
            await self._change(min(1.0, _REFRESH))
            await self._rebase()
            if self._bases.news():
                await self.checkpoints(sink)
            if self._anew:
                await self._descriptions(sink)
            if any(unit.changed.is_set() for unit in self._units.values()):
                await self._states(sink, changed_only=True)
            await self.presence.look()
            current = self.status("online")
            if lasting(current) != lasting(status):
                status = current
                await self.tell(sink, current)
            if time.monotonic() - refreshed > _REFRESH:
                refreshed = time.monotonic()
                await self.tell(sink, self.status("online"))
                await self._states(sink)
                await self.checkpoints(sink)

    async def _change(self, seconds: float) -> None:
        """Return when a unit's picture changed, at the latest after ``seconds``; never sooner than the spacing allows."""
        await asyncio.sleep(_SPACING)
        waits = [asyncio.create_task(unit.changed.wait()) for unit in self._units.values()]
        if waits:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _heads(self) -> Mapping[str, tuple[int, int, int]] | None:
        """Return where the streams stand; None while the store cannot be read: then these documents wait, and the agent goes on."""
        try:
            return await self._buffer.heads()
        except StorageError as error:
            self._log.debug("announce.waits", reason=str(error))  # the buffer has told the log that it is in trouble
            return None

    async def _states(self, sink: Sink, *, changed_only: bool = False) -> None:
        if (heads := await self._heads()) is None:
            return
        for path, unit in self._units.items():
            if changed_only and not unit.changed.is_set():
                continue
            unit.changed.clear()
            last = heads.get(unit.name, (0, 0, 0))[1]
            payload = snapshot.state_document(
                unit.picture, unit=unit.name, time=self._clock.now(), epoch=self._buffer.epoch, seq=last
            )
            await self.send(sink, Document(self._topics.state(path), payload, expiry=_EXPIRY))

    async def _rebase(self) -> None:
        """Move the bases of the checkpoints up to what was delivered by now; one at a time, for a state goes with the heads asked for after it."""
        async with self._rebasing:
            young = time.monotonic() - self._began < _REFRESH
            units = [
                unit for unit in self._units.values() if unit.picture.counters or not young
            ]  # without baselines nothing can go on
            for unit in units:
                picture = unit.picture
                about = (picture.context, picture.downtime, picture.state and picture.state.code, frozenset(picture.counters))
                self._bases.propose(unit.name, unit.mark(), about)
            if units and (heads := await self._heads()) is not None:
                for unit in units:
                    _, last, published = heads.get(unit.name, (1, 0, 0))
                    self._bases.delivered(unit.name, self._buffer.epoch, last, published)

    async def checkpoints(self, sink: Sink) -> None:
        """Announce per event stream what was made and what was sent, with running totals."""
        await self._rebase()
        if (heads := await self._heads()) is None:
            return
        agent, runs = agent_stream(self._topics.agent), await self._runs()
        first, last, published = heads.get(agent, (1, 0, 0))
        own = {"stream": agent, "time": iso(self._clock.now()), "epoch": self._buffer.epoch, "first_seq": first, "last_seq": last}
        own |= {"published_seq": published, "runs": runs}
        await self.send(sink, Document(self._topics.checkpoint(agent), msgspec.json.encode(own)))
        for unit in self._units.values():
            first, last, published = heads.get(unit.name, (1, 0, 0))
            payload = snapshot.checkpoint_document(
                unit.picture,
                unit=unit.name,
                time=self._clock.now(),
                epoch=self._buffer.epoch,
                first_seq=first,
                last_seq=last,
                published_seq=published,
                watermark=unit.watermark,
                more={"runs": runs, "resume": self._bases.packed(unit.name)},
            )
            await self.send(sink, Document(self._topics.checkpoint(unit.name), payload))


async def _no_runs() -> tuple[str, ...]:
    return ()
