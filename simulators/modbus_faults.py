"""A Modbus device that misbehaves, as a program: over TCP or on a pseudo-terminal, in MBAP, RTU or ASCII framing.

    python -m simulators.modbus_faults --port 5020 --fault "late" --rate 0.2
    python -m simulators.modbus_faults --line --framing rtu --fault "wrong checksum" --ledger sent.jsonl
    python -m simulators.modbus_faults --list

The first line that it prints says where it is; the last one what it saw. Registers say who they are (`modbus_stamps`); every request with
what was sent for it goes to the ledger as a JSON line (`modbus_ledger`). It ends on SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from simulators.command import port, ready
from simulators.modbus_device import FaultyDevice
from simulators.modbus_framing import FRAMINGS
from simulators.modbus_links import Port, line
from simulators.modbus_misdeeds import MISDEEDS


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators.modbus_faults", description="A Modbus device that misbehaves.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=port, default=0, help="TCP port; 0, the default, takes a free one")
    where.add_argument("--line", action="store_true", help="serve a pseudo-terminal instead; the first line printed names it")
    where.add_argument("--list", action="store_true", help="print every misdeed with what it does, and end")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--framing", choices=sorted(FRAMINGS), help="default: mbap over TCP, rtu on a line")
    parser.add_argument("--unit", type=int, action="append", help="a unit that answers, repeatable (default 1); others are silent")
    parser.add_argument(
        "--fault", choices=sorted(MISDEEDS), metavar="NAME", help="what it does wrong (see --list); default: nothing"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="share of the requests that it is done to (default 1)")
    parser.add_argument("--torn", action="store_true", help="answer the first half of each block from the scan before")
    parser.add_argument("--timeout", type=float, default=1.0, help="what the client waits, seconds: late means later than that")
    parser.add_argument("--seed", type=int, default=0, help="every choice is made by it")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="append each request and what was sent for it, as JSON lines")
    return parser


def _listing() -> str:
    rows = [f"{each.fault}  {each.name:<26} {'/'.join(sorted(each.framings)):<15} {each.what}" for each in MISDEEDS.values()]
    return "\n".join(row.rstrip() for row in rows)


async def _serve(options: argparse.Namespace) -> None:
    device = FaultyDevice(
        options.framing or ("rtu" if options.line else "mbap"),
        units=options.unit or (1,),
        timeout=options.timeout,
        seed=options.seed,
    )
    device.fault, device.rate, device.torn = options.fault or "", options.rate, options.torn
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        if options.ledger is not None:
            device.ledger.out = stack.enter_context(options.ledger.open("a", encoding="utf-8"))
        if options.line:
            ready(await stack.enter_async_context(line(device.serve)))
        else:
            where = Port(device.serve, options.host, options.port)
            await where.open()
            stack.push_async_callback(where.shut)
            ready(f"tcp://{where.host}:{where.port}")
        await ended.wait()
    seen = device.ledger
    print(f"requests: {seen.requests}, done wrong: {seen.misdeeds}, writes: {seen.writes}, connections: {seen.connections}")


def main() -> int:
    """Serve until a signal comes."""
    options = _arguments().parse_args()
    if options.list:
        print(_listing())
    else:
        asyncio.run(_serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
