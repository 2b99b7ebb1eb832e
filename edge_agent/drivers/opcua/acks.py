"""When a notification message is acknowledged: once it is accepted, and where the readers say how far they have stored it, once it is stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from edge_agent.drivers.opcua.inbox import Receipt

_MOST_WAITING: Final = 500
"""Messages that wait for the store; a server drops its oldest by itself at some number, and so do we."""


class Acknowledgements:
    """Receipts on their way back to the server. Without `ask` for its subscription a receipt may go at once."""

    def __init__(self) -> None:
        self._ready: deque[Receipt] = deque()
        self._waiting: dict[int, deque[Receipt]] = {}
        self._stored: dict[int, Callable[[], int]] = {}

    def ask(self, subscription: int, stored: Callable[[], int]) -> None:
        """Acknowledge the messages of a subscription up to what ``stored`` says only."""
        self._stored[subscription] = stored
        self._waiting[subscription] = deque()

    def accept(self, receipt: Receipt) -> None:
        """Take a message that the readers have accepted."""
        self._waiting.get(receipt.subscription, self._ready).append(receipt)

    def take(self, most: int) -> list[Receipt]:
        """Return at most ``most`` receipts to send now."""
        for subscription, waiting in self._waiting.items():
            number = self._stored[subscription]() if waiting else 0
            while waiting and (waiting[0].sequence <= number or len(waiting) > _MOST_WAITING):
                self._ready.append(waiting.popleft())
        return [self._ready.popleft() for _ in range(min(len(self._ready), most))]
