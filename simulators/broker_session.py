"""What a broker keeps of one client over its connections: subscriptions, what waits for it, what it has not acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from simulators.broker_faults import matches
from simulators.mqtt_wire import SUBSCRIPTION_ID, Message, Subscription

_MOST_WAITING = 200_000
"""Messages that wait for one client; the oldest goes. The ledger has them all."""


class Outlet(Protocol):
    """The connection a session speaks through."""

    receive_maximum: int

    def send(self, message: Message, mid: int, *, dup: bool) -> bool:
        """Send a PUBLISH; False when it is larger than the client takes."""
        ...


class Session:
    """One client's session (4.1)."""

    def __init__(self, client: str) -> None:
        self.client = client
        self.subscriptions: dict[str, Subscription] = {}
        self.outlet: Outlet | None = None
        self.expiry = 0
        self.will: Message | None = None
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self._waiting: deque[Message] = deque(maxlen=_MOST_WAITING)
        self._flight: dict[int, Message] = {}
        self._mid = 0

    def subscribe(self, wanted: Subscription) -> bool:
        """Take a subscription; returns whether it is new."""
        new = wanted.filter not in self.subscriptions
        self.subscriptions[wanted.filter] = wanted
        return new

    def offer(self, message: Message, sender: str) -> None:
        """Send or keep a message if a subscription matches; once, at the highest QoS of those that do (3.3.4)."""
        found = [
            each
            for each in self.subscriptions.values()
            if matches(each.filter, message.topic) and not (each.no_local and sender == self.client)
        ]
        if found:
            qos = min(message.qos, max(each.qos for each in found))
            self._put(message.with_(qos=qos, retain=message.retain and any(each.as_published for each in found)), found)

    def offer_retained(self, message: Message, wanted: Subscription) -> None:
        """Send a retained message for a new subscription (3.3.1.3)."""
        self._put(message.with_(qos=min(message.qos, wanted.qos), retain=True), [wanted])

    def _put(self, message: Message, found: list[Subscription]) -> None:
        if self.outlet is None and message.qos == 0:
            return
        numbers = [(SUBSCRIPTION_ID, each.identifier) for each in found if each.identifier is not None]
        self._waiting.append(message.with_(properties=[*message.properties, *numbers]) if numbers else message)
        self._flow()

    def attach(self, outlet: Outlet) -> None:
        """Go on over a new connection: first what was not acknowledged, in its order (4.4)."""
        self.outlet = outlet
        for mid, message in list(self._flight.items()):
            if not outlet.send(message, mid, dup=True):
                del self._flight[mid]
        self._flow()

    def acknowledge(self, mid: int) -> None:
        """Take a PUBACK of the client."""
        self._flight.pop(mid, None)
        self._flow()

    def _flow(self) -> None:
        while self._waiting and self.outlet is not None:
            if self._waiting[0].qos and len(self._flight) >= self.outlet.receive_maximum:
                return
            message = self._waiting.popleft()
            if message.qos == 0:
                self.outlet.send(message, 0, dup=False)
                continue
            mid = self._next()
            if self.outlet.send(message, mid, dup=False):
                self._flight[mid] = message

    def _next(self) -> int:
        while True:
            self._mid = self._mid % 65_535 + 1
            if self._mid not in self._flight:
                return self._mid

    def stop_timers(self) -> None:
        """Forget what was to happen to the session later."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()
