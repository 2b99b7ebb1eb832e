"""SIGKILL while appending: what was promised is there, whatever the moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_twenty_kills_lose_nothing_that_was_promised(tmp_path):
    """After 20 kills at random moments no accepted event is lost, no number is missing, and each state counts exactly its events."""
    bench = Path(__file__).with_name("kill_bench.py")
    done = subprocess.run(
        [sys.executable, str(bench), str(tmp_path / "store"), "20", "7"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report["promised"]) == {"a", "b", "c"}
    for unit, promised in report["promised"].items():
        found = report["found"][unit]
        assert found["head"] >= promised > 0
        assert (found["state"], found["whole"], found["fresh"]) == (found["head"], True, False)
