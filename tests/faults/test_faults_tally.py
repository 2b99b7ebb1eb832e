"""What the fault bench says at its end: the last line, the sums, the exit code."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from reliability import revisions
from tally import Tally, bound, exit_code, last_line, stage_line, total

from simulators.check import judge
from simulators.check_gaps import Cause

_LAST = re.compile(
    r"^faults: \d+ injected, \d+ undeclared missing, \d+ invented, \d+ corrupted, \d+ duplicates removed, max recovery \d+\.\d s, bound .+$"
)


def test_the_last_line_has_its_form():
    """A clean run: the sums of its stages, the longest recovery, and 3/N."""
    whole = total([Tally("kills", injected=400), Tally("chaos", injected=60, duplicates=7, recovery=2.34)])
    assert last_line(whole) == (
        "faults: 460 injected, 0 undeclared missing, 0 invented, 0 corrupted, 7 duplicates removed, max recovery 2.3 s, bound 3/460 (0.65 %)"
    )


@pytest.mark.parametrize(
    "bad",
    [
        Tally("x", injected=5, missing=1),
        Tally("x", injected=5, invented=1),
        Tally("x", injected=5, corrupted=1),
        Tally("x", injected=5, failures=["no new data within 5 s"]),
        Tally("x"),
    ],
    ids=["missing", "invented", "corrupted", "a failure in words", "nothing was tried"],
)
def test_every_violation_is_an_exit_code(bad):
    """One violation in one stage of many ends the whole run with 1, and there is no bound to boast with."""
    whole = (
        total([Tally("fine", injected=100)] if bad.injected else [])
        if bad.violations == 0
        else total([Tally("fine", injected=9), bad])
    )
    assert exit_code(whole) == 1
    assert _LAST.match(last_line(whole))
    if bad.violations:
        assert "bound none" in last_line(whole)
        assert "FAILED" in stage_line(bad)


def test_a_clean_run_ends_with_zero():
    """Faults were injected and nothing was violated."""
    assert exit_code(total([Tally("kills", injected=1)])) == 0


def test_a_stage_that_tried_nothing_has_failed():
    """A stage that counts no trial is red by itself, beside others that are green; one that failed already says only why."""
    empty = Tally("seeded").closed()
    assert empty.failures == ["nothing was tried"]
    assert exit_code(total([Tally("kills", injected=400), empty])) == 1
    assert Tally("kills", injected=1).closed().failures == []
    assert Tally("chaos", failures=["broke down"]).closed().failures == ["broke down"]


def test_failures_name_their_stage():
    """A failure in the sum says which stage it is of."""
    assert total([Tally("chaos", injected=1, failures=["x"])]).failures == ["chaos: x"]


def test_a_tally_survives_its_file():
    """What a stage leaves as JSON is what the runner reads; members of a later version are left out."""
    told = Tally("random", 7, 20, recovery=1.5, failures=["f"], figures={"produced": 3})
    assert Tally.of_json(json.loads(json.dumps(told.as_json() | {"later": 1}))) == told


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"kills": "aaa", "chaos": "aaa"}, "revision aaa"),
        ({"kills": "aaa", "chaos": "bbb", "cases": "bbb"}, "revision aaa: kills; revision bbb: chaos, cases"),
    ],
    ids=["one", "several"],
)
def test_the_page_says_which_revision_a_stage_ran_with(stages, said):
    """Runs that are put together into one page are told apart."""
    assert revisions(stages) == said


def test_the_bound_is_that_of_the_rule_of_three():
    """3/N, as a percentage too; nothing tried proves nothing."""
    assert bound(10_000) == "3/10000 (0.03 %)"
    assert bound(0).startswith("none")


def gap(begin: float, end: float, reason: str = "comm_loss") -> dict[str, object]:
    """Return the broker's line of a declared gap, in seconds of an hour."""
    bounds = [datetime.fromtimestamp(at, UTC).isoformat() for at in (begin, end)]
    data = {"epoch": "E", "seq": 1, "reason": reason, "interval": bounds, "seq_from": None, "seq_to": None}
    event = {"specversion": "1.0", "id": "E-filler-1", "source": "/s/p/gw1/filler", "type": "x.collection.gap.v1"}
    event |= {"sequence": f"{1:020d}", "data": data}
    about = {"at": 1.0, "what": "publish", "client": "gw1", "link": 1, "code": 0, "size": 1, "user": []}
    return about | {"topic": "edge/v1/filler/_event", "payload": json.dumps(event)}


@pytest.mark.parametrize(
    ("declared", "causes", "fine"),
    [
        (gap(99.9, 102.5), [Cause("comm_loss", 100, 102)], True),
        (gap(95, 125), [Cause("comm_loss", 100, 102)], True),
        (gap(100, 131), [Cause("comm_loss", 100, 102)], False),
        (gap(0, 1000), [Cause("comm_loss", 100, 110)], False),
        (gap(100, 140), [Cause("comm_loss", 100, 102), Cause("comm_loss", 120, 125)], True),
        (gap(100, 140), [Cause("comm_loss", 100, 102), Cause("comm_loss", 500, 900)], False),
        (gap(100, 140), [Cause("comm_loss", 100, 102), Cause("agent_down", 100, 140)], True),
        (gap(100, 140, "agent_down"), [Cause("agent_down", 100, 102), Cause("comm_loss", 100, 140)], False),
        (gap(100, 140), [], True),
        (gap(100, 140, "agent_down"), [Cause("agent_down", 100, 100.5)], False),
    ],
    ids=[
        "right",
        "with its waits",
        "too long",
        "ten times",
        "two causes",
        "one far off",
        "agent away too",
        "other reason",
        "unknown",
        "agent",
    ],
)
def test_a_gap_far_longer_than_its_fault_is_refused(declared, causes, fine):
    """Declaring a minute lost for a fault of two seconds is a violation; waits and heartbeats of some seconds are none."""
    verdict = judge([declared], reasons=frozenset({"comm_loss", "agent_down"}), causes=causes)
    assert [problem for problem in verdict.problems if "far longer" in problem] == verdict.problems
    assert (verdict.problems == []) is fine


def test_a_verdict_is_counted():
    """The terms of the checker's verdict go where they belong, and each of its problems is a failure."""

    class Stream:
        undeclared_missing, invented, corrupted = [3, 4], [9], ["5: other bytes"]

    class Source:
        undeclared_missing, invented, counted_twice = 2, [1], 3
        produced, delivered_unique, declared_lost, still_buffered = 10, 8, 0, 0

    class Verdict:
        streams, sources, unreadable, duplicates, problems = [Stream], [Source], ["x"], 6, ["stream broken"]

    tally = Tally("x")
    tally.judged(Verdict())
    assert (tally.missing, tally.invented, tally.corrupted, tally.duplicates) == (4, 5, 2, 6)
    assert tally.failures == ["stream broken"]
    assert tally.figures["produced"] == 10
