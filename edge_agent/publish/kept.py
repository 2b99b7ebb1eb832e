"""What a broker keeps on some topics (retained messages), collected once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

_QUIET = 1.0
"""Machine seconds without another message after which nothing more is expected."""


class Kept:
    """Retained messages as they come in answer to a subscription."""

    def __init__(self, topics: Collection[str]) -> None:
        """Wait for ``topics``."""
        self._topics = frozenset(topics)
        self.found: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._over = False

    def arrived(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Take in a message of one of the topics; return False for others."""
        if topic not in self._topics:
            return False
        if retained and payload:
            self.found[topic] = payload
            self._news.set()
        return True

    async def complete(self, without: Collection[str]) -> None:
        """Return when everything but ``without`` is there, or nothing has come for a while."""
        while not self._over and self._topics - self.found.keys() - set(without):
            self._news.clear()
            try:
                async with asyncio.timeout(_QUIET):
                    await self._news.wait()
            except TimeoutError:
                return

    def give_up(self) -> None:
        """Nothing more comes: the connection is gone."""
        self._over = True
        self._news.set()
