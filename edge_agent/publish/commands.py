"""Commands from outside: a bounded queue of what arrived on the agent's ``cmd`` topics. Nothing here can reach a PLC.

A flood, an oversized body or a retained leftover is counted and dropped; whoever asked gets no answer and asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Request
from edge_agent.publish.config import Command

WAITING = 16
"""Commands that may wait; a person asks for one at a time."""

LARGEST = 16_384
"""Bytes of a command's body."""


class Commands:
    """The commands received on one connection, by ``topics`` (topic -> command)."""

    def __init__(self, topics: Mapping[str, Command]) -> None:
        self.topics = topics
        self.dropped = 0
        self._waiting: deque[Request] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._failure: DisconnectedError | None = None

    def arrived(self, topic: str, body: bytes, *, retained: bool, reply: str | None, correlation: bytes | None) -> None:
        """Take one message in; what is no fresh, small command on a known topic is counted in ``dropped``."""
        command = self.topics.get(topic)
        if command is None or retained or len(body) > LARGEST or len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        if reply is not None and any(character in reply for character in "+#\0"):
            reply = None  # 3.3.2.3.5: a response topic has no wildcards; answering there would end the connection
        self._waiting.append(Request(command, body, reply or None, correlation))
        self._notify()

    async def next(self) -> Request:
        """Wait for the next command; raises DisconnectedError when the connection has ended and nothing waits."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self._wake is None or self._wake.done():
                self._wake = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._wake)
        return self._waiting.popleft()

    def fail(self, error: DisconnectedError) -> None:
        """End the waiting: the connection is gone."""
        self._failure = self._failure or error
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
