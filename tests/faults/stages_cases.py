"""The stage of the written cases: every fault with a number and a test, by several pytest runs that share them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from order import Order
from tally import Tally

ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "lane_plugin", "-m", "faults", "-s", "--tb=short")
_MORE = 2
"""Lanes that may be added: with five on two cores a case has not the time that its limits assume."""


def cases(order: Order, lanes: int = 2) -> Tally:
    """Run every case once; how long each waits is its own matter, so several run at the same time, and more as soon as other stages are over."""
    tally = Tally("cases", order.seed)
    shared = order.folder / "lanes"
    shared.mkdir()
    running = [lane(order, number, shared) for number in range(lanes)]
    told = 0
    while True:
        over = all(process.poll() is not None for process in running)
        lines = read_lines(shared / "done.jsonl")
        for line in lines[told:]:
            take(tally, line, order)
        told = len(lines)
        if over:
            break
        if len(running) - lanes < min(_MORE, len(list(order.folder.parent.glob("free-*")))):
            running.append(lane(order, len(running), shared))
        time.sleep(0.2)
    for found in read_lines(shared / "tallies.jsonl"):
        add(tally, Tally.of_json(found))
    codes = [process.returncode for process in running]
    if any(code not in (0, 1, 5) for code in codes):
        tally.failures.append(f"pytest ended with {codes}; see {order.folder}")
    return tally


def lane(order: Order, number: int, shared: Path) -> subprocess.Popen[bytes]:
    """Start one more pytest that takes cases nobody has taken yet."""
    paths = f"{ROOT}:{Path(__file__).parent}"
    tallies = str(shared / "tallies.jsonl")
    environment = os.environ | {"FAULT_LANES": str(shared), "FAULT_BENCH_TALLIES": tallies, "PYTHONPATH": paths}
    keep = (f"--basetemp={order.folder / f'lane{number}'}", "-o", "tmp_path_retention_policy=failed")
    call = [sys.executable, "-m", "pytest", "tests/faults", *_OPTIONS, *keep, *(("-k", order.only) if order.only else ())]
    with (order.folder / f"lane{number}.log").open("w") as log:
        return subprocess.Popen(call, cwd=ROOT, env=environment, stdout=log, stderr=log)


def take(tally: Tally, line: dict[str, Any], order: Order) -> None:
    """Count one case and say how it ended."""
    name = line["case"].partition("::")[2]
    order.say(f"{name} {line['outcome']} {line['seconds']:.1f} s{' ' + line['why'] if 'why' in line else ''}")
    if line["outcome"] == "failed":
        tally.failures.append(f"{name}: {line['why']}; replay: python3 dev.py test -m faults -s '{line['case']}'")
    key = {"passed": "passed", "failed": "failed"}.get(line["outcome"], "not_run")
    tally.figures[key] = tally.figures.get(key, 0) + 1
    tally.injected += line["outcome"] in {"passed", "failed"}
    if key == "not_run":
        tally.figures.setdefault("why_not", []).append(f"{name}: {line['outcome']} {line.get('why', '')}".strip())


def add(tally: Tally, found: Tally) -> None:
    """Add what the checker counted in one run; its problems are in the case's own failure."""
    for name in ("missing", "invented", "corrupted", "duplicates"):
        setattr(tally, name, getattr(tally, name) + getattr(found, name))
    tally.recovery = max(tally.recovery, found.recovery)


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file that others append to."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
