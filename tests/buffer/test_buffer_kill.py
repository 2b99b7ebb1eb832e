"""SIGKILL while appending: what was promised is there, whatever the moment."""

from __future__ import annotations

import json
from functools import partial

import pytest
from bench_tally import Tally, told_by
from kill_bench import UNITS, compare

kill = partial(told_by, "kill_bench.py")


def test_twenty_kills_lose_nothing_that_was_promised(tmp_path):
    """After each of 20 kills at random moments every accepted event is there, no number is missing, and each state counts exactly its events."""
    told = kill("--kills", "20", "--seed", "7", "--json", str(tmp_path / "tally"))
    assert (told["trials"], told["findings"]) == (20, [])
    assert told["promised"] > 20
    assert json.loads((tmp_path / "tally").read_text()) == told


@pytest.mark.parametrize(("bug", "found"), [("ack_before_commit", "lost"), ("seq_in_ram", "refusals")])
def test_the_kills_have_teeth(bug, found):
    """A promise before the commit, or numbers that only memory knows (the next start finds records beyond them), are found within ten kills."""
    told = kill("--kills", "10", "--bug", bug)
    assert told[found] > 0


@pytest.mark.parametrize("bug", ["ack_before_commit", "state_outside"])
def test_it_is_the_kill_that_shows_the_bug(bug):
    """These bugs break nothing by themselves: lives that end in order find nothing, so what is found is what a kill leaves."""
    told = kill("--kills", "10", "--bug", bug, "--orderly")
    assert (told["trials"], told["findings"]) == (10, [])


def test_a_finding_is_counted_in_one_life_only():
    """The next life goes on from what is there, so that one moment met does not pass for many."""
    tally, promised = Tally(), dict.fromkeys(UNITS, 20)
    first = [f"found {unit} {head} 16 0" for unit, head in zip(UNITS, (16, 18, 20), strict=True)]
    compare(first, promised, tally, 1)
    assert tally.found == {"lost": 2, "corrupt": 1}
    compare([f"found {unit} {head} {head} 0" for unit, head in zip(UNITS, (16, 18, 20), strict=True)], promised, tally, 2)
    assert tally.found == {"lost": 2, "corrupt": 1}
