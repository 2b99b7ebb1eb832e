"""What the MES says over MQTT about what is being made: heard, judged, and handed to the units as samples of their context.

Before a change is handed over the counters are read, so that what was made until now belongs to what was being made until now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from edge_agent.agent.collect import Collector
from edge_agent.agent.faults import AgentFault, context_refused
from edge_agent.agent.unit import Unit
from edge_agent.events.mescontext import DEVICE, RefusedContextError, Topics, name_in
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Batch, Quality
from edge_agent.ports import PlantClock
from edge_agent.publish.listening import Listening

_READ = 1.0
"""Machine seconds that the reading of the counters before a change may take."""

_TELL = 60.0
"""Machine seconds between two times that messages on one topic that are not believed are told."""

_SPACING = 0.2
"""Machine seconds between two changes: what comes in between counts by its last word."""


class MesContext:
    """The context topics of all units. ``sources`` are the units with their topics, ``collectors`` those that read the devices of each."""

    def __init__(
        self, sources: Sequence[tuple[Unit, Topics]], collectors: Mapping[str, Sequence[Collector]], clock: PlantClock
    ) -> None:
        """Listen for ``sources``; times are ``clock``'s."""
        self._sources = [(unit, topics) for unit, topics in sources if topics.sources]
        self._topics = frozenset(source.mqtt for _, topics in self._sources for _, source in topics.sources)
        self._collectors = collectors
        self._clock = clock
        self._heard: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._last: dict[tuple[str, int], str] = {}
        self._told: dict[str, float] = {}
        self._raised: dict[str, AgentFault] = {}
        self.tell: Callable[[ProductionEvent], Awaitable[None]] | None = None
        self._log = structlog.get_logger()
        self._changed = False
        self.refused = 0

    def renew(self, other: MesContext) -> None:
        """Hand over to whom ``other`` would, without asking the broker anew: its topics and the units that hear them are the same."""
        self._sources, self._collectors = other._sources, other._collectors

    def listen(self, beside: Listening) -> Listening:
        """Return what to subscribe over the next connection: the topics, and what is listened to ``beside`` them."""

        def heard(topic: str, payload: bytes) -> None:
            if topic in self._topics:
                self._heard[topic] = payload  # the newest word of each topic: no flood fills anything
                self._wake.set()
            else:
                beside.heard(topic, payload)

        return Listening((*beside.filters, *sorted(self._topics)), heard) if self._topics else beside

    async def run(self) -> None:
        """Hand over what is heard until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            heard, self._heard = self._heard, {}
            refused: dict[str, str] = {}
            for unit, topics in self._sources:
                named = self._named(topics, heard, refused)
                if named and await self._hand_over(unit, named):
                    self._changed = True
            await self._judged(heard, refused)
            if self._changed:  # whoever floods a topic makes the counters be read no more often than this
                self._changed = False
                await asyncio.sleep(_SPACING)

    @staticmethod
    def _named(topics: Topics, heard: Mapping[str, bytes], refused: dict[str, str]) -> dict[int, str]:
        """Return the names that are believed, by the index of their member; why others are not goes to ``refused``, by topic."""
        named: dict[int, str] = {}
        for topic, payload in heard.items():
            for index, source in topics.on(topic):
                try:
                    named[index] = name_in(payload, source)
                except RefusedContextError as error:
                    refused[topic] = str(error)
        return named

    async def _hand_over(self, unit: Unit, named: Mapping[int, str]) -> bool:
        """Deliver all members that came together as one sample each, at one time: one change of context, which holds from when it was heard.

        Returns whether it is one.
        """
        heard = self._clock.now()
        changed = any(self._last.get((unit.name, index)) != name for index, name in named.items())
        if changed:
            await asyncio.gather(*(collector.read_now(_READ) for collector in self._collectors.get(unit.name, ())))
        rows = len(named)
        await unit.deliver(
            Batch(
                DEVICE,
                self._clock.now(),
                list(named),
                list(named.values()),
                [int(Quality.GOOD)] * rows,
                [0] * rows,
                [0] * rows,
                asked=heard,
            )
        )
        self._last |= {(unit.name, index): name for index, name in named.items()}
        return changed

    async def _judged(self, heard: Mapping[str, bytes], refused: Mapping[str, str]) -> None:
        """Raise the fault of each topic whose message is not believed, and end it where one is; a flood of both raises it once in a while."""
        for topic in heard:
            if topic in refused:
                if self._refuse(topic, refused[topic]) and topic not in self._raised:
                    self._raised[topic] = context_refused(topic, refused[topic])
                    await self._say(self._raised[topic], "raised")
            elif fault := self._raised.pop(topic, None):
                await self._say(fault, "cleared")

    async def _say(self, fault: AgentFault, action: str) -> None:
        if self.tell is not None:
            await self.tell(fault.event(self._clock.now(), action))

    def _refuse(self, topic: str, reason: str) -> bool:
        """Count a message that is not believed; returns whether it is told."""
        self.refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._told.get(topic, float("-inf")) <= _TELL:
            return False
        self._told[topic] = now
        self._log.warning("context.refused", topic=topic, reason=reason, refused=self.refused, meaning="what was known stays")
        return True
