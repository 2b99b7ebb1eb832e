"""Publishes the records of a store whose agent is gone: in order, each flagged as sent again, because nobody knows which had left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from edge_agent.agent.envelope import Envelope, agent_stream
from edge_agent.agent.journal import unknown_loss
from edge_agent.events.encode import encode
from edge_agent.events.schemas import versions
from edge_agent.model.errors import RejectedError
from edge_agent.model.stream import Record, RecordKey, record_id
from edge_agent.ports import Buffer, Document, Sink
from edge_agent.publish import mqtt
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.topics import Topics


class Handover:
    """What was handed over: a count, and the records that the broker will not take, by their ids."""

    def __init__(self, told: Callable[[int], None]) -> None:
        """Call ``told`` with each number of records that were confirmed."""
        self.sent = 0
        self.refused: list[tuple[str, str]] = []
        self._told = told
        self._flight: dict[asyncio.Task[None], RecordKey] = {}

    async def run(self, records: AsyncIterator[Sequence[Record]], sink: Sink) -> None:
        """Publish all of ``records``. Raises DisconnectedError; what was confirmed by then is counted, and nothing was changed in the store."""
        try:
            async for page in records:
                for record in page:
                    while len(self._flight) >= sink.window:
                        await self._some()
                    again = msgspec.structs.replace(record, resent=True)
                    self._flight[asyncio.create_task(sink.publish(again))] = record.key
            while self._flight:
                await self._some()
        finally:
            for task in self._flight:
                task.cancel()
            if self._flight:
                await asyncio.wait(self._flight)

    async def _some(self) -> None:
        done, _ = await asyncio.wait(self._flight, return_when=asyncio.FIRST_COMPLETED)
        failure: BaseException | None = None
        for task in done:
            key = self._flight.pop(task)
            error = task.exception()
            if error is None:
                self.sent += 1
                self._told(1)
            elif isinstance(error, RejectedError):
                self.refused.append((record_id(key), str(error)))
            else:
                failure = error
        if failure is not None:
            raise failure


def broker_of(config: MqttConfig, envelope: Envelope) -> AbstractAsyncContextManager[Sink]:
    """Open a connection that says nothing about the agent: no status, no commands, a client id of its own."""
    settings = envelope.settings
    topics = Topics(settings.root, settings.site, settings.agent)
    per_type = "per_type" if settings.per_type else "per_stream"
    form = {"format": "flat" if settings.flat else "cloudevents", "profile": "cloudevents" if settings.event == "_event" else "umh"}
    own = config.model_copy(
        update={"commands": (), "client_id": f"{settings.agent}-export", "dataschema": settings.schema, "topics": per_type, **form}
    )
    will = Document(f"{topics.base}/export", b'{"status":"ended"}', retain=False)
    return mqtt.connect(own, topics=topics, streams=envelope.streams, will=will, type_prefix=settings.prefix, versions=versions())


async def declare_unknown(buffer: Buffer, envelope: Envelope) -> None:
    """Say in the stream of the agent itself that nobody knows what a damaged store held besides, as the agent does when it starts on one."""
    now = time.time_ns()
    event, settings = unknown_loss(now), envelope.settings
    await buffer.append([encode(event, stream=agent_stream(settings.agent), prefix=settings.prefix, recorded=now, cfg="")], None)
