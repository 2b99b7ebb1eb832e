"""What one connection hears: answers to subscriptions, commands, what the broker keeps, and what is listened to beside that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.client import subscribe
from edge_agent.publish.commands import Commands
from edge_agent.publish.kept import Kept
from edge_agent.publish.listening import LARGEST, NOTHING, Listening


class Hearing:
    """The receiving half of a connection; the sending half is not touched by whatever comes here. ``timeout`` in machine seconds."""

    def __init__(self, client: Client, where: str, version: MQTTProtocolVersion, commands: Commands, timeout: float) -> None:
        """Take what ``client`` hears."""
        self.commands = commands
        self.listening: Listening = NOTHING
        self._client = client
        self._where = where
        self._version = version
        self._timeout = timeout
        self._subscribed: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
        self._kept: Kept | None = None
        self._failure: DisconnectedError | None = None
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    async def subscribe(self, topics: Sequence[str], *, retained: bool = False) -> list[int]:
        """Subscribe and return the reason code of each topic; one after another. Raises DisconnectedError without an answer in time."""
        if self._failure is not None:
            raise self._failure
        if self._subscribed.done():
            self._subscribed = asyncio.get_running_loop().create_future()
        subscribe(self._client, topics, self._version, retained=retained)
        try:
            async with asyncio.timeout(self._timeout):
                return [code.value for code in await self._subscribed]
        except TimeoutError as error:
            raise DisconnectedError(f"{self._where} does not answer a subscription") from error

    async def retained(self, topics: Sequence[str]) -> tuple[dict[str, bytes], dict[str, int]]:
        """Return what the broker keeps on ``topics``, and the reason codes of those that may not be read; nothing is subscribed afterwards.

        MQTT does not say when all of it has come: whatever is missing is waited for until nothing has come for a second.
        """
        self._kept = Kept(topics)
        codes = await self.subscribe(topics, retained=True)
        refused = {topic: code for topic, code in zip(topics, codes, strict=False) if code >= 0x80}
        await self._kept.complete(refused)
        if self._failure is not None:
            raise self._failure
        self._client.unsubscribe(list(topics))
        return self._kept.found, refused

    def fail(self, error: DisconnectedError) -> None:
        """End everything: who waits for something to be heard gets ``error``, and so does everyone later."""
        self._failure = error
        if not self._subscribed.done():
            self._subscribed.set_exception(error)
            self._subscribed.exception()  # read here: nobody may be waiting for it
        self.commands.fail(error)
        if self._kept is not None:
            self._kept.give_up()

    def _on_subscribe(self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if not self._subscribed.done():
            self._subscribed.set_result(reasons)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if self._kept is not None and self._kept.arrived(message.topic, bytes(message.payload), retained=message.retain):
            return
        properties = message.properties
        if message.topic not in self.commands.topics and self.listening.filters:
            if len(message.payload) <= LARGEST:
                self.listening.heard(message.topic, bytes(message.payload))
            return
        self.commands.arrived(
            message.topic,
            bytes(message.payload),
            retained=message.retain,
            reply=getattr(properties, "ResponseTopic", None),
            correlation=getattr(properties, "CorrelationData", None),
        )
