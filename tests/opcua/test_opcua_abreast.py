"""Small requests side by side: how many are on their way, and what becomes of the rest when one goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from edge_agent.drivers.opcua import abreast as room
from edge_agent.drivers.opcua.abreast import abreast
from edge_agent.drivers.opcua.encode import READ, Ready
from edge_agent.model.errors import DisconnectedError


class Way:
    """A server that answers in order, one answer each turn of the loop; ``lost`` is the number of the request that ends the connection."""

    server = "plc:4840"

    def __init__(self, lost: int = -1) -> None:
        self.sent: list[int] = []
        self.most = self.waiting = 0
        self.cancelled = 0
        self._lost = lost

    def send_ready(self, requests: Sequence[Ready]) -> Sequence[asyncio.Future[Any]]:
        """Take requests."""
        self.sent += [int(request.body) for request in requests]
        self.waiting += len(requests)
        self.most = max(self.most, self.waiting)
        futures = [asyncio.get_running_loop().create_future() for _ in requests]
        for future, request in zip(futures, requests, strict=True):
            future.body = request.body  # type: ignore[attr-defined]
            future.add_done_callback(self._done)
        return futures

    def _done(self, future: asyncio.Future[Any]) -> None:
        self.cancelled += future.cancelled()

    async def answer(self, future: asyncio.Future[Any], what: str) -> bytes:
        """Answer with the body of the request."""
        await asyncio.sleep(0)
        self.waiting -= 1
        body: bytes = future.body  # type: ignore[attr-defined]
        if int(body) == self._lost:
            raise DisconnectedError(what)
        future.set_result(body)
        return body


def requests(count: int) -> list[Any]:
    """Return what makes numbered requests."""
    return [partial(Ready, READ, b"%d" % number) for number in range(count)]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No server is remembered from another test."""
    room.careful.clear()
    yield
    room.careful.clear()


async def test_all_go_and_never_too_many_at_once() -> None:
    """Every answer comes with the number of its request, in order, and never more than allowed are on their way."""
    way, taken = Way(), list[tuple[int, bytes]]()
    left = await abreast(way, "read", 16, requests(200), lambda number, body: taken.append((number, body)) is None)
    assert left == []
    assert taken == [(number, b"%d" % number) for number in range(200)]
    assert 8 < way.most <= 16


async def test_after_a_bad_answer_nothing_new_is_sent() -> None:
    """What was on its way beside the bad one is still taken; the bad one and the rest are given back."""
    way, taken = Way(), list[int]()
    left = await abreast(way, "create", 16, requests(200), lambda number, _: number != 50 and taken.append(number) is None)
    assert sorted(taken + left) == list(range(200))
    assert left[0] == 50
    assert set(way.sent) == {*taken, 50}
    assert len(way.sent) < 70


async def test_a_server_that_ends_the_connection_is_not_asked_so_again() -> None:
    """The loss is told, nothing keeps waiting, and the next connection to that server goes the careful way; others do not."""
    way = Way(lost=30)
    with pytest.raises(DisconnectedError):
        await abreast(way, "read", 16, requests(200), lambda *_: True)
    await asyncio.sleep(0)
    assert way.cancelled == way.waiting > 0
    again, other = Way(), Way()
    other.server = "other:4840"
    assert await abreast(again, "read", 16, requests(200), lambda *_: True) == list(range(200))
    assert again.sent == []
    assert await abreast(other, "read", 16, requests(200), lambda *_: True) == []
