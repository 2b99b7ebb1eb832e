"""A TCP proxy that spoils a link: ``python -m simulators.faults --listen P --target H:P [--cut 450-481] [--bad 60-90:up:delay=2,rate=1000]``.

During a cut, ``--how close`` resets the connections and refuses new ones; ``--how blackhole`` keeps them and forwards nothing until
the cut ends. ``--bad`` makes one lane (``up`` = from who dialled the proxy, ``down``, ``both``) bad for a time; what it can be is in
`lane`. Times are plant seconds. SIGUSR1 begins or ends a cut by hand, and on the ``--control`` socket can be asked for: ``cut``, ``mend``,
``half_open`` (open connections are never answered again), ``reset``, ``set LANE NAME=VALUE...``, ``clear``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from simulators.clock import Clock, read_clock
from simulators.command import address, port, ready, refusals, speed, until_signal, words
from simulators.control import control
from simulators.lane import Lane
from simulators.ledger import Ledger
from simulators.link import LANES, Link
from simulators.vocabulary import SECOND

__all__ = ["Link", "main"]

Step = tuple[int, str]
"""A plant time in ns and a request of the control socket."""


@dataclass
class Proxy:
    """A link whose faults are told to a ledger."""

    link: Link
    clock: Clock
    ledger: Ledger

    async def answer(self, line: str) -> str:
        """Do a request of the control socket. Raises ValueError."""
        word, *rest = line.split()
        match word:
            case "cut":
                await self.link.cut()
            case "mend":
                await self.link.mend()
                word = "mended"
            case "half_open":
                self.link.half_open()
            case "reset":
                self.link.reset()
            case "set" if len(rest) > 1:
                change(self.link.lanes(rest[0]), rest[1:])
            case "clear":
                for lane in self.link.lanes(rest[0] if rest else "both"):
                    lane.clear()
            case _:
                raise ValueError(f"no request {line!r}; there are cut, mend, half_open, reset, set LANE NAME=VALUE, clear")
        self.ledger.write(self.clock.t(), word, " ".join(rest) or None)
        return ""

    async def toggle(self) -> None:
        """Begin or end a cut by hand."""
        await self.answer("mend" if self.link.is_cut else "cut")

    async def on_schedule(self, steps: list[Step]) -> None:
        """Do each step at its time."""
        for when, request in sorted(steps):
            await self.clock.sleep_until(when)
            await self.answer(request)


def change(lanes: list[Lane], settings: list[str]) -> None:
    """Set properties, each ``NAME=VALUE``; raises ValueError."""
    for lane in lanes:
        for setting in settings:
            name, _, value = setting.partition("=")
            lane.set(name, value)


async def _proxy(options: argparse.Namespace, clock: Clock, ledger: Ledger) -> None:
    link = Link(options.host, options.port, options.target, options.how, options.seed)
    proxy = Proxy(link, clock, ledger)
    await link.listen()
    by_hand: set[asyncio.Task[None]] = set()

    def begin(work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(work())
        by_hand.add(task)
        task.add_done_callback(by_hand.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin, proxy.toggle)
    with contextlib.closing(ledger):
        try:
            async with control(options.control, proxy.answer):
                ready(f"tcp://{options.host}:{link.port}")
                await proxy.on_schedule([step for steps in (*options.cut, *options.bad) for step in steps])
                await asyncio.Event().wait()
        finally:
            await link.close()


def _cut(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    try:
        window = round(float(begin) * SECOND), round(float(end) * SECOND)
    except (ValueError, OverflowError):
        window = 0, 0
    if not 0 <= window[0] < window[1]:
        raise ValueError(f"{text!r} is no time; give FROM-TO in plant seconds, as 60-90")
    return window


def _cut_steps(text: str) -> list[Step]:
    begin, end = _cut(text)
    return [(begin, "cut"), (end, "mend")]


def _bad_steps(text: str) -> list[Step]:
    """Read ``60-90:up:delay=2,rate=1000``."""
    window, lane, settings = [*text.split(":"), "", ""][:3]
    begin, end = _cut(window)
    if lane not in LANES:
        raise ValueError(f"no lane {lane!r}; there are up, down and both")
    change([Lane()], settings.split(","))  # a mistake is told before the run, not in it
    return [(begin, f"set {lane} {settings.replace(',', ' ')}"), (end, f"clear {lane}")]


def main() -> None:
    """Run the proxy until a signal ends it."""
    parser = argparse.ArgumentParser(
        prog="python -m simulators.faults", description="A TCP proxy that spoils a link at plant times."
    )
    parser.add_argument(
        "--listen", type=port, required=True, dest="port", metavar="PORT", help="0 takes a free one; the ready line names it"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--target", type=address, required=True, metavar="HOST:PORT")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="the run's clock file; without it t=0 is now")
    parser.add_argument("--speed", type=speed, default=1.0, help="plant seconds per machine second, without --clock")
    parser.add_argument(
        "--cut", type=words(_cut_steps), action="append", default=[], metavar="FROM-TO", help="plant seconds; may be given again"
    )
    parser.add_argument(
        "--bad",
        type=words(_bad_steps),
        action="append",
        default=[],
        metavar="FROM-TO:LANE:NAME=VALUE,...",
        help="see simulators/lane.py",
    )
    parser.add_argument("--how", choices=("close", "blackhole"), default="close")
    parser.add_argument("--seed", type=int, default=1, help="of stalls and flipped bits")
    parser.add_argument("--control", type=Path, metavar="SOCKET", help="UNIX socket for requests while it runs")
    parser.add_argument("--ledger", type=Path, metavar="FILE")
    options = parser.parse_args()
    with refusals(parser, options):
        now = Clock(datetime.now(UTC), options.speed, time.monotonic_ns())
        clock = now if options.clock is None else read_clock(options.clock)
        asyncio.run(until_signal(_proxy(options, clock, Ledger(options.ledger))))


if __name__ == "__main__":
    main()
