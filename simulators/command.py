"""The command line that all simulators share: scenario, clock, address, faults, ledger; a clean end on SIGTERM and SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import errno
import math
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulators.clock import Clock, ClockError, read_clock, start_clock
from simulators.ledger import Ledger
from simulators.scenario import ScenarioError, load_scenario
from simulators.schema import Scenario

_LAST_PORT = 65_535


@dataclass(frozen=True)
class Stage:
    """What a simulator needs to play."""

    scenario: Scenario
    clock: Clock
    ledger: Ledger
    host: str
    port: int
    faults: bool


def arguments(name: str, what: str) -> argparse.ArgumentParser:
    """Make the parser with the options that all simulators have."""
    parser = argparse.ArgumentParser(prog=f"python -m simulators.{name}", description=what)
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument("--speed", type=speed, default=1.0, help="plant seconds per machine second, without --clock")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="clock file shared by all processes of the run")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, required=True, help="0 takes a free one; the ready line names it")
    parser.add_argument("--faults", action="store_true", help="also inject the scenario's faults that are this simulator's")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="append what truly happened, as JSON lines")
    return parser


def port(text: str) -> int:
    """Read a TCP port for argparse."""
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"'{text}' is no TCP port; give a number from 1 to {_LAST_PORT}, or 0 for a free one")
    return int(text)


def speed(text: str) -> float:
    """Read plant seconds per machine second for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no speed; give a number greater than 0, 1 for the plant's own pace")
    return value


def address(text: str) -> tuple[str, int]:
    """Read HOST:PORT for argparse."""
    host, _, number = text.rpartition(":")
    if not host or not number.isdecimal() or not 0 < int(number) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; give HOST:PORT with a port from 1 to {_LAST_PORT}")
    return host, int(number)


def count(least: int, most: int) -> Callable[[str], int]:
    """Make a reader of whole numbers for argparse."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' will not do; give a whole number from {least} to {most}")
        return int(text)

    return read


def words(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse say what a reader says; of a ValueError alone it would show the name of the function."""

    def reading(text: str) -> Any:
        try:
            return read(text)
        except (ValueError, OverflowError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reading


def play(parser: argparse.ArgumentParser, simulator: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a simulator until it ends or a signal ends it.

    Exit code 2 for a scenario or clock that cannot be used, 1 when the port or the ledger cannot be had.
    """
    options = parser.parse_args()
    with refusals(parser, options):
        scenario = load_scenario(options.scenario)
        clock = start_clock(scenario, options.speed) if options.clock is None else read_clock(options.clock, scenario)
        with Ledger(options.ledger) as ledger:
            stage = Stage(scenario, clock, ledger, options.host, options.port, options.faults)
            asyncio.run(until_signal(simulator(stage)))


@contextmanager
def refusals(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Iterator[None]:
    """End with one line when a file, a port or a socket cannot be had (1), or a scenario or clock cannot be used (2)."""
    try:
        yield
    except (ScenarioError, ClockError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"{parser.prog}: {_cannot(error, options)}", file=sys.stderr)
        raise SystemExit(1) from None


def _cannot(error: OSError, options: argparse.Namespace) -> str:
    """Say what the system refused, and what to do about it."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:  # of a UNIX socket, which the system does not name
        return f"{getattr(options, 'control', None)}: {error.strerror}"
    if not hasattr(options, "port"):
        return str(error)
    if error.errno == errno.EADDRINUSE:
        return f"port {options.port} of {options.host} is in use; end the program that has it, or give 0 for a free one"
    return f"cannot listen on {options.host}:{options.port}: {error.strerror or error}"


async def until_signal(work: Awaitable[None]) -> None:
    """Cancel ``work`` on SIGTERM or SIGINT and wait for its end."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        # The signal asked for it; anybody else's cancellation ends this task as well, right after.
        return


def ready(url: str) -> None:
    """Tell the harness that the simulator listens."""
    print(f"ready {url}", flush=True)
