"""A loss that has hidden nothing: the device delivered later what it had kept."""

from __future__ import annotations

import pytest
from registerbench import Bench, at
from test_gap_rule import bench, gaps

from edge_agent.model.reading import Gap, Quality, Reading, Recovered, Timestamps

__all__ = ["bench"]


def recovered(made: Bench, seconds: float, *tags: str, without: tuple[str, ...] = ()) -> None:
    """Let plc1 say what it delivers of the loss."""
    made.tell(seconds, Recovered("plc1", at(seconds), tags, without))


def test_a_link_loss_of_which_everything_comes_has_lost_nothing(bench: Bench) -> None:
    """The counts of the time are counts like others; the gap, for the state was Unknown meanwhile, says that nothing is missing."""
    bench.down(462, last_good=450)
    bench.up(481)
    recovered(bench, 481)
    for seconds, value in ((455, 1010), (470, 1030)):
        bench.see(seconds, value)
    bench.see(481.2, 1062)
    bench.tick(600)
    (gap,) = gaps(bench.of("collection.gap"))
    assert (gap[0], gap[1], gap[3], gap[4], gap[5]) == ("comm_loss", 450, ["plc1.*"], "none", {})
    counts = bench.of("production.count")
    assert [count.data["delta"] for count in counts] == [10, 20, 32]
    assert {count.derivation for count in counts} == {"observed"}


def test_what_did_not_come_is_the_gap(bench: Bench) -> None:
    """Tags without a sample of the time are named, and they alone."""
    bench.down(462, last_good=450)
    bench.up(481)
    recovered(bench, 481, without=("reject",))
    bench.see(481.2, 1062)
    events = bench.see(481.3, 33, "plc1.reject")
    ((reason, since, until, tags, _, made_up),) = gaps(events or bench.of("collection.gap"))
    assert (reason, since, until, tags) == ("comm_loss", 450, 481.3, ["plc1.reject"])
    assert made_up == {"reject": 3}


def test_an_absence_of_the_agent_of_which_everything_comes_is_no_gap_of_that_device(bench: Bench) -> None:
    """Other devices, which keep nothing, stay in the gap."""
    bench.restart(450, 480)
    bench.up(481)
    recovered(bench, 481)
    bench.see(481.2, 1062)
    bench.up(481.5, "meter")
    bench.see(482, 503, "meter.energy")
    bench.tick(600)
    found = gaps(bench.of("collection.gap"))
    assert [gap[0] for gap in found] == ["agent_down"]
    assert not any(tag.startswith("plc1") for tag in found[0][3])


@pytest.mark.parametrize("tags", [("count",), ()], ids=["a tag", "everything"])
def test_a_loss_inside_what_came_is_told_by_itself(bench: Bench, tags: tuple[str, ...]) -> None:
    """What the device could not keep is a gap with its own bounds, not hidden by what it did keep, and not as wide as the outage."""
    bench.down(462, last_good=450)
    bench.up(481)
    recovered(bench, 481)
    bench.tell(481, Gap("plc1", "queue_overflow", at(455), at(470), tags))
    bench.see(470, 1030)
    bench.see(481.2, 1062)
    bench.tick(600)
    found = gaps(bench.of("collection.gap"))
    assert [(gap[0], gap[1], gap[4]) for gap in found] == [("queue_overflow", 455, "unknown"), ("comm_loss", 450, "none")]
    assert found[0][2] == 470
    assert found[0][3] == ["plc1.count" if tags else "plc1.*"]
    assert bench.counted == 62


def kept(made: Bench, seconds: float, value: int, now: float) -> None:
    """Let plc1 deliver at ``now`` what it sampled at ``seconds``."""
    reading = Reading("plc1.count", value, Quality.GOOD, Timestamps(at(seconds), at(seconds), at(now)))
    made.step(seconds, readings={"plc1.count": reading}, historical=True)


@pytest.mark.parametrize("revived", [False, True], ids=["running", "restored"])
def test_a_loss_that_came_in_full_is_told_where_the_hole_ends(bench: Bench, revived: bool) -> None:
    """Not before the last of what the device had kept, however long that takes; then with the first sample of the present."""
    bench.down(462, last_good=450)
    bench.up(481)
    recovered(bench, 481)
    for step in range(6):
        kept(bench, 455 + 4 * step, 1010 + step, 481 + 4 * step)
        bench.tick(483 + 4 * step)
        assert bench.of("collection.gap") == []
        if revived:
            bench.revive()
    bench.see(505, 1020)
    assert [gap[:5] for gap in gaps(bench.of("collection.gap"))] == [("comm_loss", 450, 505, ["plc1.*"], "none")]


def test_a_device_that_falls_silent_behind_what_it_kept_holds_nothing_back(bench: Bench) -> None:
    """Where no sample of the present comes, the loss is told after the time that counters have to tell."""
    bench.down(462, last_good=450)
    bench.up(481)
    recovered(bench, 481)
    kept(bench, 470, 1030, 486)
    bench.tick(495)
    assert bench.of("collection.gap") == []
    bench.tick(496)
    assert [gap[4] for gap in gaps(bench.of("collection.gap"))] == ["none"]
