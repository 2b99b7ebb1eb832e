"""The proxy's bad lanes: each direction alone, by schedule and on request."""

import asyncio
import contextlib
import time

import pytest
from simulators_process import port_of, simulator
from test_simulators_faults import ask, echo, proxy

from simulators.control import ask as request
from simulators.faults import _bad_steps
from simulators.lane import Lane
from simulators.ledger import read_ledger


async def dial(link):
    """Open a connection through the link."""
    return await asyncio.open_connection("127.0.0.1", link.port)


async def timed(stream, text):
    """How long an echo takes, in seconds."""
    begin = time.monotonic()
    assert await ask(stream, text) == text
    return time.monotonic() - begin


async def test_a_delay_adds_to_the_way_it_is_on():
    """100 ms up, then 100 ms both ways; the bytes are the same, and what follows closely is not delayed twice."""
    async with proxy("close") as link:
        stream = await dial(link)
        link.up.set("delay", "0.1")
        assert 0.1 <= await timed(stream, b"one") < 0.2
        link.down.set("delay", "0.1")
        begin = time.monotonic()
        for _ in range(5):
            stream[1].write(b"ab")
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(stream[0].readexactly(10), 5) == b"ab" * 5
        assert 0.2 <= time.monotonic() - begin < 0.4
        stream[1].close()


async def test_a_thin_line_carries_so_many_bytes_a_second():
    """1,000 bytes at 5,000 bytes a second take 0.2 s."""
    async with proxy("close") as link:
        stream = await dial(link)
        link.down.set("rate", "5000")
        assert 0.18 <= await timed(stream, bytes(range(250)) * 4) < 0.5
        stream[1].close()


async def test_a_cut_after_k_bytes_lets_exactly_k_bytes_through():
    """The near side gets the first 7 of the answer and then a reset; the next connection has its own count."""
    async with proxy("close") as link:
        link.down.set("cut_after", "7")
        for _ in range(2):
            reader, writer = await dial(link)
            writer.write(b"0123456789")
            received = b""
            with contextlib.suppress(ConnectionError):
                while chunk := await asyncio.wait_for(reader.read(100), 5):
                    received += chunk
            assert received in {b"0123456", b""}  # a reset may overtake what the kernel has not handed over
            writer.close()


async def test_a_half_open_connection_is_never_answered_and_a_new_one_is():
    """The far side dies without a word to the near side; who dials again finds the target."""
    async with proxy("close") as link:
        old = await dial(link)
        assert await ask(old, b"one") == b"one"
        link.half_open()
        old[1].write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(old[0].read(1), 0.1)
        new = await dial(link)
        assert await ask(new, b"three") == b"three"
        old[1].close()
        new[1].close()


async def test_a_frozen_lane_is_silent_and_the_other_is_not():
    """Answers are held back; what was sent did arrive, and all of it comes in order when the lane thaws."""
    async with proxy("close") as link:
        stream = await dial(link)
        link.down.set("freeze", "1")
        stream[1].write(b"one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream[0].read(1), 0.1)
        link.down.set("freeze", "0")
        assert await ask(stream, b"two") == b"one"
        stream[1].close()


async def test_bits_flip_at_the_rate_of_the_seed():
    """About one byte in a hundred has one bit flipped; the same seed flips the same ones, another seed others."""
    noise = []
    for seed in (1, 1, 2):
        lane = Lane(flip=0.01, seed=seed)
        noise.append(lane._noisy(bytes(10_000)))
        changed = [byte for byte in noise[-1] if byte]
        assert 60 < len(changed) == lane.flipped < 140
        assert all(byte.bit_count() == 1 for byte in changed)
    assert noise[0] == noise[1] != noise[2]


async def test_stalls_delay_and_lose_nothing():
    """With every chunk stalled an echo takes a retransmission each way."""
    async with proxy("close") as link:
        stream = await dial(link)
        for lane in link.lanes("both"):
            lane.set("stall", "1")
        assert 0.4 <= await timed(stream, b"one") < 0.7
        stream[1].close()


async def test_requests_change_the_link_and_mistakes_are_told(tmp_path):
    """On the control socket of the process; each request is in the ledger."""
    socket, ledger = tmp_path / "control", tmp_path / "ledger.jsonl"
    async with echo() as (host, port):
        arguments = (
            "--listen",
            0,
            "--target",
            f"{host}:{port}",
            "--control",
            socket,
            "--ledger",
            ledger,
            "--bad",
            "0-0.05:up:delay=3",
        )
        async with simulator("faults", *arguments) as (url, _):
            stream = await asyncio.open_connection("127.0.0.1", port_of(url))
            while len(read_ledger(ledger)) < 2:  # noqa: ASYNC110 - another process makes no events
                await asyncio.sleep(0.01)
            await request(socket, "set both delay=0.1")
            assert 0.2 <= await timed(stream, b"one") < 0.5
            await request(socket, "clear")
            assert await timed(stream, b"two") < 0.1
            await request(socket, "reset")
            with contextlib.suppress(ConnectionError):
                assert await stream[0].read() == b""
            for wrong in ("set sideways delay=1", "set up colour=1", "set up", "dance"):
                with pytest.raises(ValueError, match=r"no lane|no property|no request"):
                    await request(socket, wrong)
            stream[1].close()
    steps = [(entry["what"], entry["value"]) for entry in read_ledger(ledger)]
    assert steps == [("set", "up delay=3"), ("clear", "up"), ("set", "both delay=0.1"), ("clear", None), ("reset", None)]


def test_a_bad_time_is_two_steps():
    """Begin and end, checked when the command line is read."""
    assert _bad_steps("1-2:up:delay=2,rate=10") == [(10**9, "set up delay=2 rate=10"), (2 * 10**9, "clear up")]
    with pytest.raises(ValueError, match="no property"):
        _bad_steps("1-2:up:colour=red")
