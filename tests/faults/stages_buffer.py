"""Stages with the buffer alone: killed while it appends, and started on the images of power cuts and on rotten files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from order import Order
from tally import Tally

BUFFER = Path(__file__).resolve().parents[1] / "buffer"


def kills(order: Order) -> Tally:
    """SIGKILL a process that appends; whatever it had promised is there, without a hole, with the state of exactly its events."""
    tally = Tally("kills", order.seed)
    for number, size in parts(order, 100):
        count(tally, order, number, bench("kill_bench.py", order.seed + number, "--kills", str(size), workers=1 + order.long))
    return tally


def images(order: Order) -> Tally:
    """Start the buffer on what a power cut may leave, and on damage; nothing accepted is lost undeclared, nothing is corrupt, no start is refused."""
    tally = Tally("images", order.seed)
    for number, size in parts(order, 1000):
        sizes = ("--images", str(size), "--rotten", str(size // 20))
        count(tally, order, number, bench("power_bench.py", order.seed + number, *sizes, workers=1 + order.long))
    return tally


def parts(order: Order, size: int) -> Iterator[tuple[int, int]]:
    """Yield (number, trials) of each part of a stage; a part can be done again alone."""
    for number in range(-(-order.trials // size)):
        yield order.first + number, min(size, order.trials - number * size)


def bench(program: str, seed: int, *arguments: str, workers: int = 1) -> dict[str, Any]:
    """Run one of the buffer's benches and return what it printed."""
    call = [sys.executable, str(BUFFER / program), "--seed", str(seed), "--workers", str(workers), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode not in {0, 1} or not done.stdout:
        return {"trials": 0, "findings": [f"{program} ended with {done.returncode}: {done.stderr[-300:]}"]}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def count(tally: Tally, order: Order, number: int, told: dict[str, Any]) -> None:
    """Add a part to the stage."""
    tally.injected += told["trials"]
    tally.missing += told.get("lost", 0) + told.get("holes", 0)
    tally.corrupted += told.get("corrupt", 0)
    tally.failures += [f"number {number}: {words}" for words in told["findings"]]
    if told.get("refusals") and not told["findings"]:
        tally.failures.append(f"number {number}: {told['refusals']} starts refused")
    for name in ("promised", "rotten"):
        if name in told:
            tally.figures[name] = tally.figures.get(name, 0) + told[name]
    order.say(
        f"{tally.injected} of {order.trials}{' and rotten files' if 'rotten' in told else ''}, {len(tally.failures)} failures"
    )
