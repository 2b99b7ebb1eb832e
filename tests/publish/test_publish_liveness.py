"""Dead or slow: a peer that is gone is noticed in time, a line that is slow is left alone."""

from __future__ import annotations

import asyncio
import socket

import pytest
from publish_fake_broker import FakeBroker, outcomes_of
from publish_front import Front

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.liveness import Liveness, Traffic


@pytest.mark.parametrize(
    ("looks", "silent", "took"),
    [
        ([(10, 0, False), (20, 0, False)], 0.0, 0.0),
        ([(10, 0, False), (10, 0, False)], 1.0, 0.0),
        ([(10, 100, True), (10, 200, True)], 0.0, 2.0),
        ([(10, 100, True), (10, 200, False)], 1.0, 1.0),
        ([(10, 100, True), (10, 100, True)], 1.0, 1.0),
        ([None, None], 2.0, 0.0),
    ],
    ids=["it_speaks", "silence", "still_taking", "took_the_rest", "takes_no_more", "unknown"],
)
def test_who_takes_bytes_or_speaks_is_alive(looks, silent, took):
    """Taking the last byte proves nothing (a kernel does that for a hung program); taking some with more to come does."""
    liveness = Liveness(0.0)
    for second, seen in enumerate(looks, 1):
        liveness.see(seen, float(second))
    assert (liveness.silent(2.0), liveness.took) == (silent, took)


class Line(Front):
    """A TCP relay that can be cut silently, or be slow towards the broker (4 KB each 20 ms through small buffers)."""

    slow = False

    async def __aenter__(self):
        self.open = asyncio.Event()
        self.open.set()
        self._tasks = set()
        listener = socket.socket()
        if self.slow:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # inherited by accepted sockets
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._relay, sock=listener, limit=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _relay(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        onward = await asyncio.open_connection("127.0.0.1", self.target)
        both = [asyncio.create_task(self._copy(reader, onward[1])), asyncio.create_task(self._copy(onward[0], writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (onward[1], writer):
                end.transport.abort()
                await asyncio.gather(end.wait_closed(), return_exceptions=True)

    async def _copy(self, reader, writer):
        while data := await reader.read(4096):
            await self.open.wait()
            if self.slow:
                await asyncio.sleep(0.02)
            writer.write(data)
            await writer.drain()


async def test_a_black_hole_is_noticed_within_the_keep_alive(open_sink):
    """A line that swallows everything both ways, with nothing to send: lost after the time that was set, not after twice of it."""
    async with FakeBroker() as broker, Line(broker.port) as line, open_sink(line.port, keepalive="1s") as sink:
        await asyncio.sleep(0.2)
        line.open.clear()
        started = asyncio.get_running_loop().time()
        with pytest.raises(DisconnectedError, match="does not answer pings"):
            await asyncio.wait_for(sink.request(), 5)
        assert asyncio.get_running_loop().time() - started <= 1.2


@pytest.mark.parametrize("dies", [False, True], ids=["alive", "dead"])
async def test_a_kernel_that_counts_nothing_is_no_dead_broker(open_sink, monkeypatch, dies):
    """Where nobody tells how many bytes came (macOS, gVisor, emulators), what was read says who lives; a broker that is dead is still noticed."""
    monkeypatch.setattr(Traffic, "look", lambda _: None)
    async with FakeBroker() as broker, Line(broker.port) as line, open_sink(line.port, keepalive="1s") as sink:
        if dies:
            line.open.clear()
            with pytest.raises(DisconnectedError, match="does not answer pings"):
                await asyncio.wait_for(sink.request(), 5)
            return
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.request(), 2.6)  # nothing ends it
        assert len(broker.connects) == 1


async def test_a_line_of_few_bytes_is_slow_and_not_dead(open_sink, record):
    """Each of two big messages takes longer than ack_timeout and keep-alive, and arrives once, on one connection."""
    line = Line()
    line.slow = True
    async with FakeBroker() as broker:
        line.target = broker.port
        async with line, open_sink(line.port, keepalive="600ms", ack_timeout="600ms", window=6) as sink:
            started = asyncio.get_running_loop().time()
            big = b'{"a":"' + b"x" * 250_000 + b'"}'
            assert await outcomes_of(sink, [record(n, body=big) for n in (1, 2)]) == [None] * 2
            assert asyncio.get_running_loop().time() - started > 1.2
        assert [int(seen.user["sequence"]) for seen in broker.published] == [1, 2]
        assert len(broker.connects) == 1


async def test_a_peer_that_takes_no_more_is_lost(open_sink, record):
    """A full socket that does not move is no slow line."""
    async with FakeBroker() as broker, open_sink(broker.port, keepalive="600ms", ack_timeout="600ms", window=20) as sink:
        broker.reading.clear()
        big = b'{"a":"' + b"x" * 900_000 + b'"}'
        started = asyncio.get_running_loop().time()
        outcomes = await outcomes_of(sink, [record(n, body=big) for n in range(1, 21)])
        broker.reading.set()
        assert all(isinstance(outcome, DisconnectedError) for outcome in outcomes[1:])  # the first was being read already
        assert asyncio.get_running_loop().time() - started < 2.0
