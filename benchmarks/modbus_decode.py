"""What a poll of 1,000 registers costs the processor, when nothing has changed and when everything has.

``python benchmarks/modbus_decode.py [--root CHECKOUT]`` prints CPU time, the least of many rounds, so that a busy machine does not show: of one block
in `Watch.answered` (a reply as before costs one comparison), of one changed value by its type, and of one poll of eight blocks through acquisition,
device and watches with a device that answers at once. ``--root`` measures another checkout of the agent by the same program.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout that is measured")
parser.add_argument("--rounds", type=int, default=40, help="the least of so many rounds is told")
options = parser.parse_args()
sys.path.insert(0, str(options.root))

from edge_agent.drivers.modbus.acquire import Acquisition
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits, plan
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.drivers.modbus.wire import Reply
from edge_agent.model.reading import Batch
from edge_agent.ports import DeviceWiring

REGISTERS = 1000
KINDS: tuple[tuple[str, str, int, str, dict[str, Any]], ...] = (
    ("uint16", "uint16", 1, ">H", {}),
    ("uint16 scale 0.1", "uint16", 1, ">H", {"scale": 0.1}),
    ("int16 bad_values 0x8000", "int16", 1, ">h", {"bad": (-32768.0,)}),
    ("uint32 ABCD", "uint32", 2, ">I", {}),
    ("uint32 CDAB", "uint32", 2, ">I", {"order": "CDAB"}),
    ("float32 ABCD", "float32", 2, ">f", {}),
    ("float32 CDAB", "float32", 2, ">f", {"order": "CDAB"}),
    ("uint16 deadband 1", "uint16", 1, ">H", {"deadband": 1.0}),
)


def least(work: Callable[[], object], calls: int) -> float:
    """Return the CPU ns of one call: the least of the rounds of ``calls``."""
    found = []
    for _ in range(options.rounds):
        began = time.process_time_ns()
        for _ in range(calls):
            work()
        found.append((time.process_time_ns() - began) / calls)
    return min(found)


def block_of(count: int, kind: str = "uint16", size: int = 1, **more: Any) -> Block:
    """Return one request for ``count`` values side by side."""
    fields = [Field(index=n, name=f"t{n}", area="holding", address=n * size, size=size, type=kind, **more) for n in range(count)]
    (block,) = plan(fields, Limits())
    return block


def one_block() -> None:
    """Print what one unchanged block costs, and one changed value of each type."""
    watch, raw, batch = Watch(block_of(125)), bytes(250), Batch("dev", 1)
    watch.answered(raw, batch)
    again = bytes(bytearray(raw))  # equal, as replies are, and not the same object
    print(f"unchanged block of 125 registers            {least(lambda: watch.answered(again, batch), 2000):8.0f} ns")
    for name, kind, size, code, more in KINDS:
        count = 125 // size
        watch = Watch(block_of(count, kind, size, **more))
        answers = cycle([struct.pack(">" + code[1] * count, *(1 + 10 * turn + n % 7 for n in range(count))) for turn in (0, 1)])
        changing = least(lambda watch=watch, answers=answers: watch.answered(next(answers), Batch("dev", 1)), 20) / count
        print(f"  changed and reported, {name:26}  {changing:8.0f} ns a value")


class Answers:
    """A wire whose device answers at once, from prepared bytes."""

    lost = None
    latency = 0.0

    def __init__(self) -> None:
        """Answer zeros."""
        self.turn = 0

    async def read(self, unit: int, block: Block, timeout: float) -> Reply:  # noqa: ARG002 - the shape of a wire
        """Answer with ``turn`` in every register."""
        return Reply(struct.pack(">H", self.turn) * block.count, 1, 1)

    async def close(self) -> None:
        """Nothing is open."""


def finish(work: Coroutine[Any, Any, object]) -> None:
    """Run what has nothing to wait for, without the event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("a poll waits for something")


async def polls() -> None:
    """Print what one poll of all registers costs."""
    tags = {f"r{n}": {"register": "holding", "address": n, "type": "uint16"} for n in range(REGISTERS)}
    config = ModbusConfig.model_validate({"version": 1, "device": "dev", "driver": "modbus", "host": "127.0.0.1", "tags": tags})
    wire, device = Answers(), Device(config, DeviceWiring())

    async def opened(_: Callable[[], None]) -> Answers:
        return wire

    acquisition = Acquisition([device], SimpleNamespace(now=lambda: 1, speed=1.0), opened)
    await acquisition.start()
    for name, step in (("nothing changed", 0), ("every value changed", 1)):

        def poll(step: int = step) -> None:
            wire.turn ^= step
            finish(acquisition._poll(device, device.watches))  # noqa: SLF001 - what `run` does at each point of the grid
            finish(acquisition.outlet.take())

        taken = least(poll, 20)
        print(f"poll of {REGISTERS} registers, {name:22}    {taken / 1000:8.1f} us, {taken / REGISTERS:.0f} ns a register")


if __name__ == "__main__":
    one_block()
    asyncio.run(polls())
