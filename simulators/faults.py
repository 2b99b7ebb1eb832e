"""A TCP proxy that cuts a link at given plant times: ``python -m simulators.faults --listen P --target H:P --cut 450-481``.

During a cut, ``--how close`` resets the connections and refuses new ones; ``--how blackhole`` keeps them and forwards nothing until
the cut ends. SIGUSR1 begins or ends a cut by hand. Every fault is one entry in `Link`, so others can stand beside the cut.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from simulators.clock import Clock, ClockError, read_clock
from simulators.command import ready, until_signal
from simulators.ledger import Ledger
from simulators.vocabulary import SECOND

_CHUNK = 65536
_PROBE_AGAIN = 0.01


class Link:
    """The proxied link: whole or cut."""

    def __init__(self, host: str, port: int, target: tuple[str, int], how: str) -> None:
        self._host = host
        self.port = port
        self._target = target
        self._how = how
        self._closing = False
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Event] = set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_cut(self) -> bool:
        """Say whether nothing passes."""
        return not self._whole.is_set()

    async def listen(self) -> None:
        """Accept connections; ``port`` becomes the real one."""
        async with self._opening:  # the end of a cut and a target that returns may meet here
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, self._host, self.port)
                self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Let nothing pass from now on."""
        self._whole.clear()
        if self._how == "close":
            await self._stop_listening()
            self._reset()

    async def mend(self) -> None:
        """Let everything pass again."""
        self._whole.set()
        await self.listen()

    async def close(self) -> None:
        """End the proxy and all its connections."""
        self._closing = True
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._stop_listening()
        self._whole.set()
        self._reset()
        await asyncio.gather(*(ended.wait() for ended in self._handlers))

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        self._handlers.add(ended)
        self._writers.add(writer)
        try:
            await self._whole.wait()
            if not self._closing:
                await self._join(reader, writer)
        except OSError:
            self._suspect_target()  # the near side learns it by its connection's end
        finally:
            self._writers.discard(writer)
            writer.close()
            self._handlers.discard(ended)
            ended.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers.add(far_writer)
        try:
            await self._both_ways(reader, writer, far_reader, far_writer)
        finally:
            if far_reader.at_eof():
                self._suspect_target()
            self._writers.discard(far_writer)
            far_writer.close()

    def _suspect_target(self) -> None:
        if self._probe is None and not self._closing:
            self._probe = asyncio.create_task(self._refuse_while_target_does())

    async def _refuse_while_target_does(self) -> None:
        """Listen only while the target listens: behind a real link, too, nobody accepts for a device without power."""
        while not await self._target_accepts():
            await self._stop_listening()
            await asyncio.sleep(_PROBE_AGAIN)
        self._probe = None
        if not (self.is_cut and self._how == "close"):
            await self.listen()

    async def _target_accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self._target)
        except OSError:
            return False
        writer.close()
        return True

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far: asyncio.StreamWriter,
    ) -> None:
        pumps = {asyncio.create_task(self._pump(reader, far)), asyncio.create_task(self._pump(far_reader, writer))}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._whole.wait()
            writer.write(chunk)
            await writer.drain()
        await self._whole.wait()  # a black hole swallows the goodbye too


async def _on_schedule(link: Link, clock: Clock, cuts: list[tuple[int, int]], ledger: Ledger) -> None:
    for begin, end in sorted(cuts):
        await clock.sleep_until(begin)
        await link.cut()
        ledger.write(clock.t(), "cut")
        await clock.sleep_until(end)
        await link.mend()
        ledger.write(clock.t(), "mended")


async def _toggle(link: Link, clock: Clock, ledger: Ledger) -> None:
    await (link.mend() if link.is_cut else link.cut())
    ledger.write(clock.t(), "cut" if link.is_cut else "mended")


async def _proxy(options: argparse.Namespace, clock: Clock, ledger: Ledger) -> None:
    host, _, port = options.target.rpartition(":")
    link = Link(options.host, options.listen, (host, int(port)), options.how)
    await link.listen()
    by_hand: set[asyncio.Task[None]] = set()

    def toggle() -> None:
        task = asyncio.ensure_future(_toggle(link, clock, ledger))
        by_hand.add(task)
        task.add_done_callback(by_hand.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, toggle)
    ready(f"tcp://{options.host}:{link.port}")
    with contextlib.closing(ledger):
        try:
            await _on_schedule(link, clock, options.cut, ledger)
            await asyncio.Event().wait()
        finally:
            await link.close()


def _cut(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    window = round(float(begin) * SECOND), round(float(end) * SECOND)
    if window[0] >= window[1]:
        raise ValueError(text)
    return window


def main() -> None:
    """Run the proxy until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m simulators.faults", description="A TCP proxy that cuts a link at plant times.")
    parser.add_argument("--listen", type=int, required=True, metavar="PORT", help="0 takes a free one; the ready line names it")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="the run's clock file; without it t=0 is now")
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds per machine second, without --clock")
    parser.add_argument(
        "--cut", type=_cut, action="append", default=[], metavar="FROM-TO", help="plant seconds; may be given again"
    )
    parser.add_argument("--how", choices=("close", "blackhole"), default="close")
    parser.add_argument("--ledger", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        now = Clock(datetime.now(UTC), options.speed, time.monotonic_ns())
        clock = now if options.clock is None else read_clock(options.clock)
    except ClockError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    asyncio.run(until_signal(_proxy(options, clock, Ledger(options.ledger))))


if __name__ == "__main__":
    main()
