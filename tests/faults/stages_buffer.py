"""Stages with the buffer alone: killed while it appends, and started on the images of power cuts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from order import Order
from tally import Tally

BUFFER = Path(__file__).resolve().parents[1] / "buffer"
_ROUNDS = 100
"""Kills of one store before the next one begins."""
_IMAGES = 1000
"""Images of one history before the next one is made."""


def kills(order: Order) -> Tally:
    """SIGKILL a process that appends; whatever it had promised is there, without a hole, with the state of exactly its events."""
    tally = Tally("kills", order.seed)
    for number in range(order.first, order.first + -(-order.trials // _ROUNDS)):
        rounds = min(_ROUNDS, order.trials - tally.injected)
        folder = order.folder / f"store{number}"
        call = [sys.executable, str(BUFFER / "kill_bench.py"), str(folder), str(rounds), str(order.seed + number)]
        done = subprocess.run(call, capture_output=True, text=True, timeout=300, check=False)
        tally.injected += rounds
        found = kill_failures(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else [done.stderr[-500:]]
        tally.failures += [f"number {number}: {each}" for each in found]
        order.say(f"{tally.injected} of {order.trials} kills, {len(tally.failures)} failures")
        if not found:
            shutil.rmtree(folder)
    return tally


def kill_failures(report: dict[str, dict[str, object]]) -> list[str]:
    """Return what a report of the kill bench says against the buffer."""
    found = []
    for unit, promised in report["promised"].items():
        held = report["found"].get(unit, {"head": 0})
        if not isinstance(promised, int) or held["head"] < promised:
            found.append(f"{unit}: {promised} promised, {held['head']} found")
        elif (held["state"], held["whole"], held["fresh"]) != (held["head"], True, False):
            found.append(f"{unit}: {held}")
    return found or ([] if report["promised"] else ["nothing was promised"])


def images(order: Order) -> Tally:
    """Start the buffer on what a power cut at any moment may leave; nothing accepted is lost, nothing is corrupt, no start is refused."""
    tally = Tally("images", order.seed)
    parts = range(order.first, order.first + -(-order.trials // _IMAGES))
    with ProcessPoolExecutor(1 if not order.long else 2) as pool:
        sizes = [min(_IMAGES, order.trials - _IMAGES * at) for at in range(len(parts))]
        jobs = {
            pool.submit(some_images, order.seed * 1_000_003 + part, size): part for part, size in zip(parts, sizes, strict=True)
        }
        for done in as_completed(jobs):
            count, failures = done.result()
            tally.injected += count
            tally.failures += [f"number {jobs[done]}: {each}" for each in failures]
            order.say(f"{tally.injected} of {order.trials} images, {len(tally.failures)} failures")
    return tally


def some_images(seed: int, count: int) -> tuple[int, list[str]]:
    """Make a history and cut the power ``count`` times in it; return how many images there were and what was wrong."""
    sys.path[:0] = [str(BUFFER)]
    import test_buffer_power as power

    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="power-cut-", dir=place))
    vfs = power.RecordingVFS(f"images-{seed}")
    failures = []
    try:
        made = power.Bench(folder / "bench", vfs)
        power.scenario(made)
        for number in range(seed, seed + count):
            try:
                power.cut(made, folder, number)
            except Exception as error:  # noqa: BLE001 - whatever an image does to the buffer is the finding
                failures.append(f"image {number}: {type(error).__name__}: {error}")
            shutil.rmtree(folder / f"cut{number}")
    finally:
        vfs.unregister()
        shutil.rmtree(folder)
    return count, failures[:5]
