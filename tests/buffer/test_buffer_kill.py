"""SIGKILL while appending: what was promised is there, whatever the moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).with_name("kill_bench.py")


def kill(*arguments: str) -> dict[str, object]:
    """Run the bench and return its tally; the exit code says the same."""
    done = subprocess.run([sys.executable, str(BENCH), *arguments], capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (1 if told["findings"] else 0), done.stderr
    return told


def test_twenty_kills_lose_nothing_that_was_promised(tmp_path):
    """After each of 20 kills at random moments every accepted event is there, no number is missing, and each state counts exactly its events."""
    told = kill("--kills", "20", "--seed", "7", "--json", str(tmp_path / "tally"))
    assert (told["trials"], told["findings"]) == (20, [])
    assert told["promised"] > 20
    assert json.loads((tmp_path / "tally").read_text()) == told


@pytest.mark.parametrize("bug", ["ack_before_commit", "seq_in_ram"])
def test_the_kills_have_teeth(bug):
    """A promise before the commit, or numbers that only memory knows, are found within ten kills."""
    told = kill("--kills", "10", "--bug", bug)
    assert told["lost"] > 0
