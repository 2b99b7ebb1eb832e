"""Subscriptions of the odd server: queues with overflow bits, sequence numbers, retransmission, keep-alives, lifetime (OPC 10000-4, 5.14)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from odd_faults import BAD_TIMEOUT
from odd_wire import Key, Sample, data_change, notification, response, status_change, u32

if TYPE_CHECKING:
    from odd_server import OddServer
    from odd_session import Session

OVERFLOW = 0x480
MOST_ROWS = 1000
MOST_KEPT = 1000


class Item:
    """A monitored item: what was sampled and not yet published, with a mark on what follows a loss."""

    def __init__(self, number: int, handle: int, key: Key, size: int) -> None:
        self.number, self.handle, self.key = number, handle, key
        self._size = max(size, 1)
        self.queue: deque[tuple[Sample, int]] = deque()

    def push(self, sample: Sample) -> None:
        """Queue a sample; the oldest goes when there is no room, and the one after it says so (never with a queue of one)."""
        self.queue.append((sample, 0))
        if len(self.queue) > self._size:
            self.queue.popleft()
            if self._size > 1:
                first, _ = self.queue.popleft()
                self.queue.appendleft((first, OVERFLOW))


class Subscription:
    """One subscription, run by a task of its own."""

    def __init__(self, server: OddServer, session: Session, number: int, interval: float, keep_alive: int, lifetime: int) -> None:
        self.number, self.session = number, session
        self.items: dict[int, Item] = {}
        self.dirty: dict[int, Item] = {}
        self.kept: dict[int, bytes] = {}
        self.sequence = 1
        self._server = server
        self._interval, self._keep_alive, self._lifetime = interval, keep_alive, lifetime
        self._quiet = keep_alive  # the first message goes out at the first interval, with or without data
        self._waited = 0
        self.task = asyncio.create_task(self._run())

    def push(self, item: Item, sample: Sample) -> None:
        """Queue a sample of an item."""
        item.push(sample)
        self.dirty[item.number] = item

    def tell_again(self) -> None:
        """Queue what every item has now, changed or not."""
        for item in self.items.values():
            if (now := self._server.sample_of(item.key)) is not None:
                self.push(item, now)

    def heard(self) -> None:
        """Count the lifetime anew: somebody wants the subscription."""
        self._waited = 0

    async def _run(self) -> None:
        while self._waited < self._lifetime:
            await asyncio.sleep(self._interval / 1000)
            if not self._server.faults.silent:
                self._cycle()
        self.end(BAD_TIMEOUT)

    def _cycle(self) -> None:
        """One publishing interval: all that waits, or now and then a sign of life."""
        self._quiet += 1
        if self._server.faults.forget_items:
            self.dirty.clear()
        if not self.session.waiting:
            self._waited += bool(self.dirty) or self._quiet >= self._keep_alive
            return
        self._waited = 0
        while self.dirty and self.session.waiting:
            self._data()
        if self._quiet >= self._keep_alive:
            self._send(notification(self.sequence, ()))

    def _data(self) -> None:
        rows: list[tuple[int, bytes]] = []
        while self.dirty and len(rows) < MOST_ROWS:
            _, item = self.dirty.popitem()
            rows += [(item.handle, sample.encoded(bits)) for sample, bits in item.queue]
            item.queue.clear()
        body = notification(self.sequence, (data_change(rows),))
        self.kept[self.sequence] = body
        while len(self.kept) > MOST_KEPT:
            del self.kept[next(iter(self.kept))]
        self.sequence = 1 if self.sequence == 0xFFFF_FFFF else self.sequence + 1
        faults = self._server.faults
        if faults.drop > 0:
            faults.drop -= 1
            return
        self._send(body)
        if faults.twice > 0 and self.session.waiting:
            faults.twice -= 1
            self._send(body)

    def _send(self, message: bytes) -> None:
        self._quiet = 0
        publish = self.session.waiting.popleft()
        body = response(829, publish.handle) + u32(self.number, 0) + (b"\x01" if self.dirty else b"\x00") + message
        publish.answer(body + u32(len(publish.results), *publish.results) + u32(0))

    def end(self, code: int) -> None:
        """Say that the subscription is over, where somebody listens, and forget it."""
        if self.session.waiting:
            self._send(notification(self.sequence, (status_change(code),)))
        self.delete()

    def delete(self) -> None:
        """Forget the subscription and its items."""
        self.task.cancel()
        for item in list(self.items.values()):
            self.forget(item)
        self._server.subscriptions.pop(self.number, None)

    def forget(self, item: Item) -> None:
        """Delete one item."""
        del self.items[item.number]
        self.dirty.pop(item.number, None)
        watchers = self._server.watching[item.key]
        watchers.remove((self, item))
