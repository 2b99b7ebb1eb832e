"""How fast this core is now, and by how much a target has to be stretched: a fixed loop, timed by CPU.

Machines differ, and the speed of a shared core moves by a factor of two within seconds: every measurement stands between two calibrations.
"""

from __future__ import annotations

import json
import struct
import time

REFERENCE = 0.036
"""CPU seconds of the loop on the machine for which the targets were set (Xeon, Python 3.11, undisturbed)."""

_ROWS = struct.Struct("<IBBqqq")


def calibrate(rounds: int = 3) -> float:
    """Return the CPU seconds of the loop, the best of some rounds: decoding, comparing and encoding as an agent does it."""
    body = b"".join(_ROWS.pack(row, 13, 8, row, 1, 2) for row in range(1000))
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(60):
            handles, _, _, values, times, _ = zip(*_ROWS.iter_unpack(body), strict=True)
            seen = [row for row, (handle, value) in enumerate(zip(handles, values, strict=True)) if handle != value]
            json.dumps({"tag": handles, "value": values, "dt": [time_ - 1 for time_ in times], "odd": seen})
        best = min(best, time.process_time() - began)
    return best


def slowness(calibration: float) -> float:
    """Return by how much this core is slower than the one of the targets (2.0: half as fast)."""
    return calibration / REFERENCE
