"""The TCP proxy: a cut at plant times, by hand, closing or swallowing."""

import asyncio
import contextlib
import signal
import time

import pytest
from simulators_process import SCENARIOS, port_of, simulator

from simulators.clock import write_clock
from simulators.faults import Link
from simulators.ledger import read_ledger
from simulators.listening import stop_listening
from simulators.scenario import SECOND, load_scenario

SHORT = load_scenario(SCENARIOS / "short.yaml")


@contextlib.asynccontextmanager
async def echo(port=0):
    """An echo server; yields its address."""
    handlers = set()

    async def answer(reader, writer):
        handlers.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1000):
                writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()
    finally:
        await stop_listening(server)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


@contextlib.asynccontextmanager
async def proxy(how):
    """A link to an echo server."""
    async with echo() as target:
        link = Link("127.0.0.1", 0, target, how)
        await link.listen()
        try:
            yield link
        finally:
            await link.close()


async def ask(stream, text):
    """Send and wait for the echo."""
    stream[1].write(text)
    return await asyncio.wait_for(stream[0].readexactly(len(text)), 5)


async def gone(port):
    """Whether a new connection is refused."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_a_closing_cut_resets_connections_and_refuses_new_ones():
    """After the cut the same port serves again."""
    async with proxy("close") as link:
        stream = await asyncio.open_connection("127.0.0.1", link.port)
        assert await ask(stream, b"one") == b"one"
        await link.cut()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(stream[0].read(), 5) == b""
        assert await gone(link.port)
        stream[1].close()
        await link.mend()
        stream = await asyncio.open_connection("127.0.0.1", link.port)
        assert await ask(stream, b"two") == b"two"
        stream[1].close()


async def test_a_black_hole_keeps_connections_silent_and_then_delivers():
    """Nothing is answered during the cut, neither on the old nor on a new connection; both get their answers after it."""
    async with proxy("blackhole") as link:
        old = await asyncio.open_connection("127.0.0.1", link.port)
        assert await ask(old, b"one") == b"one"
        await link.cut()
        new = await asyncio.open_connection("127.0.0.1", link.port)
        asked = [asyncio.create_task(ask(stream, b"two")) for stream in (old, new)]
        done, _ = await asyncio.wait(asked, timeout=0.1)
        assert not done
        await link.mend()
        assert await asyncio.gather(*asked) == [b"two", b"two"]
        for stream in (old, new):
            stream[1].close()


async def test_a_dead_target_is_refused_like_a_dead_device():
    """Who connects while the target is off learns it at once, the next ones are refused, and the link returns with the target."""
    async with echo() as target:
        pass
    link = Link("127.0.0.1", 0, target, "close")
    await link.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    async with asyncio.timeout(5):
        while not await gone(link.port):  # noqa: ASYNC110 - the kernel makes no events
            await asyncio.sleep(0.01)
    async with echo(target[1]):
        await reachable(link.port)
        stream = await asyncio.open_connection("127.0.0.1", link.port)
        assert await ask(stream, b"back") == b"back"
        stream[1].close()
        await link.close()


async def test_the_proxy_as_a_process_cuts_at_plant_times_and_by_hand(tmp_path):
    """The schedule follows the clock file; SIGUSR1 cuts and mends; the ledger has both with their times."""
    clock, ledger = tmp_path / "clock.json", tmp_path / "ledger.jsonl"
    write_clock(clock, SHORT, 100.0)
    async with echo() as (host, port):
        arguments = ("--listen", 0, "--target", f"{host}:{port}", "--clock", clock, "--cut", "10-40", "--ledger", ledger)
        async with simulator("faults", *arguments) as (url, process):
            stream = await asyncio.open_connection("127.0.0.1", port_of(url))
            assert await ask(stream, b"one") == b"one"
            write_clock(clock, SHORT, 100.0, started=time.monotonic_ns())
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(stream[0].read(), 5) == b""
            stream[1].close()
            assert await gone(port_of(url))
            await reachable(port_of(url))
            process.send_signal(signal.SIGUSR1)
            while not await gone(port_of(url)):  # noqa: ASYNC110 - another process makes no events
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGUSR1)
            await reachable(port_of(url))
    entries = read_ledger(ledger)
    assert [entry["what"] for entry in entries] == ["cut", "mended", "cut", "mended"]
    assert [entry["t"] for entry in entries[:2]] == [pytest.approx(10, abs=5), pytest.approx(40, abs=5)]


async def reachable(port):
    """Return when the port accepts again."""
    async with asyncio.timeout(5):
        while await gone(port):  # noqa: ASYNC110 - another process makes no events
            await asyncio.sleep(0.01)


def test_a_cut_is_a_window():
    """t=10-40 s in ns; nonsense is refused."""
    from simulators.faults import _cut

    assert _cut("10-40.5") == (10 * SECOND, 40_500_000_000)
    for text in ("10", "40-10", "a-b", "0-inf", "nan-1"):
        with pytest.raises(ValueError, match=rf"{text!r} is no time; give FROM-TO"):
            _cut(text)
