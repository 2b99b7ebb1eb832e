"""The gap rule: every loss is one event, told when it is known what was made up for."""

import pytest
from registerbench import ORDER_1, TAGS, Bench, at, counter

from edge_agent.events.gap import GapConfig, build
from edge_agent.events.rule import Picture
from edge_agent.model.instant import iso
from edge_agent.model.reading import Gap, Quality

COUNTERS = {"total": "plc1.count", "reject": "plc1.reject", "el": "meter.energy"}


def rules():
    """Return two counters and the gap rule of a unit with three devices."""
    (gap,) = build(
        GapConfig(), unit="filler", tags=TAGS, counters=COUNTERS, inputs=["plc1.order", "plc1.mode", "plc1.count", "heater.high"]
    )
    return counter("total"), counter("reject", tag="plc1.reject", role="scrap", wraps="uint16"), gap


@pytest.fixture
def bench():
    """Return a unit whose counters have their baselines at t=1."""
    made = Bench(*rules(), picture=Picture(context=ORDER_1))
    made.see(1, 1000)
    made.see(1, 30, "plc1.reject")
    made.see(1, 500, "meter.energy")
    return made


def gaps(events):
    """Return gaps in short: reason, from, to (seconds), tags, lost, recovered."""
    return [
        (
            event.data["reason"],
            (event.interval[0] - at(0)) / 1e9,
            (event.interval[1] - at(0)) / 1e9,
            event.data["tags"],
            event.data["lost"],
            event.data["recovered"],
        )
        for event in events
        if event.type == "collection.gap"
    ]


def test_link_loss_is_told_when_every_counter_of_the_device_has_come_back(bench):
    """One gap from the last good sample to the last counter's first good one, with what each recovered."""
    bench.down(462, last_good=450)
    bench.up(481)
    assert gaps(bench.see(481.2, 1062)) == []
    events = bench.see(481.3, 33, "plc1.reject")
    assert gaps(events) == [("comm_loss", 450, 481.3, ["plc1.*"], "unknown", {"total": 62, "reject": 3})]
    event = events[-1]
    assert event.data["interval"] == [iso(at(450)), iso(at(481.3))]
    assert (event.time, event.ctx, event.correlation, event.data["device"]) == (at(481.3), ORDER_1, "WO-1", "plc1")
    assert (event.data["seq_from"], event.data["seq_to"]) == (None, None)
    assert gaps(bench.see(482, 1064)) == []


def test_counter_that_stays_away_is_not_waited_for_beyond_the_settling_time(bench):
    """Ten seconds after the return the gap is told with what is known."""
    bench.down(462, last_good=450)
    bench.up(481)
    bench.see(481, 1062)
    bench.bad(481, "plc1.reject")
    assert gaps(bench.tick(490)) == []
    assert gaps(bench.tick(491)) == [("comm_loss", 450, 481, ["plc1.*"], "unknown", {"total": 62})]


def test_device_without_counters_is_back_with_its_first_sample(bench):
    """Where no counter is waited for, any usable sample of the device ends the gap."""
    bench.down(105, last_good=100, device="heater")
    bench.up(110, device="heater")
    assert gaps(bench.see(110.5, 1001)) == []
    assert gaps(bench.see(111, True, "heater.high")) == [("comm_loss", 100, 111, ["heater.*"], "unknown", {})]


def test_second_loss_before_the_first_is_told_is_one_gap(bench):
    """A link that flaps is one gap from the earliest last good sample on."""
    bench.down(20, last_good=10)
    bench.up(25)
    bench.see(25, 1010)
    bench.down(30, last_good=25)
    bench.up(40)
    bench.see(40, 1030)
    assert gaps(bench.see(40, 31, "plc1.reject")) == [("comm_loss", 10, 40, ["plc1.*"], "unknown", {"total": 30, "reject": 1})]


def test_two_devices_lost_are_two_gaps(bench):
    """Each device's loss is told on its own."""
    bench.down(20, last_good=10)
    bench.down(21, last_good=11, device="meter")
    bench.up(30, device="meter")
    assert gaps(bench.see(30, 510, "meter.energy")) == [("comm_loss", 11, 30, ["meter.*"], "unknown", {})]
    bench.up(40)
    bench.see(40, 1010)
    assert gaps(bench.see(40, 30, "plc1.reject")) == [("comm_loss", 10, 40, ["plc1.*"], "unknown", {"total": 10})]


def test_matrix_gap_agent_stopped_20_s_at_2_per_s(bench):
    """The agent's own absence is a gap over all tags, told with the first samples after it."""
    bench.see(699, 1998)
    bench.see(700, 2000)
    bench.restart(700, 720)
    bench.see(720.5, 2040)
    bench.see(720.5, 32, "plc1.reject")
    assert gaps(bench.see(720.7, 501, "meter.energy")) == [("agent_down", 700, 720.7, ["*"], "unknown", {"total": 40, "reject": 2})]


def test_a_restarted_agent_waits_until_each_device_has_answered_or_not(bench):
    """Connecting takes machine time: however late a device answers, what it makes up for stands in the agent's gap."""
    bench.see(699, 1998)
    bench.see(699, 30, "plc1.reject")
    bench.see(699, 500, "meter.energy")
    bench.restart(700, 720)
    bench.up(721, device="meter")
    bench.see(721, 520, "meter.energy")
    assert gaps(bench.tick(760)) == []
    bench.up(765)
    bench.see(765, 2100)
    assert gaps(bench.see(765, 35, "plc1.reject")) == [("agent_down", 700, 765, ["*"], "unknown", {"total": 102, "reject": 5})]


def test_agent_down_inside_a_link_loss_is_two_gaps_and_one_count(bench):
    """A loss that was open when the agent stopped goes on; what is recovered stands in the device's gap alone."""
    bench.down(462, last_good=450)
    bench.tick(465, final=True)
    bench.restart(465, 470)
    bench.down(471, last_good=None)
    bench.up(471, device="meter")
    assert gaps(bench.tick(480)) == []
    assert gaps(bench.tick(481)) == [("agent_down", 465, 470, ["*"], "unknown", {})]
    bench.up(481)
    bench.see(481, 1062)
    assert gaps(bench.see(481, 33, "plc1.reject")) == [("comm_loss", 450, 481, ["plc1.*"], "unknown", {"total": 62, "reject": 3})]


def test_device_still_away_after_a_restart_is_covered_from_the_absence_on(bench):
    """A device that does not answer after a restart was last seen when the agent stopped."""
    bench.restart(465, 470)
    bench.down(471, last_good=None)
    bench.up(500)
    bench.see(500, 1062)
    assert gaps(bench.see(500, 30, "plc1.reject")) == [("comm_loss", 465, 500, ["plc1.*"], "unknown", {"total": 62})]


def test_matrix_gap_bad_5_s_then_good_plus_10(bench):
    """A counter that was bad for five seconds lost nothing: its count is recovered, the gap says so."""
    bench.see(900, 1010)
    for tenth in range(50):
        bench.bad(900.1 + tenth / 10)
    events = bench.see(905.1, 1020)
    assert [event.type for event in events] == ["production.count", "collection.gap"]
    assert gaps(events) == [("bad_quality", 900.1, 905.1, ["plc1.count"], "none", {"total": 10})]


def test_short_bad_period_is_no_gap(bench):
    """A bad sample or two, for less than the stale time, are nothing to declare."""
    bench.bad(900)
    bench.see(901, None, quality=Quality.UNCERTAIN)
    assert gaps(bench.see(902, 1010)) == []


def test_bad_tags_of_states_may_have_lost_anything(bench):
    """What was bad and is no counter may have changed unseen; tags of one failure are one gap."""
    for ref in ("plc1.mode", "plc1.order"):
        bench.bad(900, ref)
    events = bench.see(910, 1, "plc1.mode", others={"plc1.order": "WO-1"})
    assert gaps(events) == [("bad_quality", 900, 910, ["plc1.mode", "plc1.order"], "unknown", {})]


def test_bad_tag_whose_own_time_stood_still_is_measured_by_the_agent(bench):
    """A device that sends the old stamp with the good value again does not hide how long it was bad."""
    bench.see(905, None, quality=Quality.BAD, source=900)
    assert gaps(bench.see(912, 1010, source=900)) == [("bad_quality", 900, 907, ["plc1.count"], "none", {"total": 10})]


def test_telemetry_that_is_bad_is_no_gap(bench):
    """Only tags that events are made from are declared."""
    bench.bad(300, "meter.power")
    assert gaps(bench.see(310, 5, "meter.power")) == []


def test_bad_samples_of_a_lost_device_are_not_told_twice(bench):
    """While a device is away its bad samples belong to its own gap."""
    bench.down(10, last_good=5)
    bench.bad(11)
    bench.up(20)
    bench.see(20, 1010)
    events = bench.see(20, 30, "plc1.reject")
    assert [gap[0] for gap in gaps(bench.events)] == ["comm_loss"]
    assert gaps(events)[0][5] == {"total": 10}


@pytest.mark.parametrize(("count", "lost"), [(None, "unknown"), (7, {"min": 0, "max": 7})])
def test_declared_gap_is_passed_on_at_once(bench, count, lost):
    """What a driver declares is told at once, with the number of lost samples where it is known."""
    events = bench.tell(30, Gap("plc1", "queue_overflow", at(28), at(30), ("count",), count))
    assert gaps(events) == [("queue_overflow", 28, 30, ["plc1.count"], lost, {})]
    assert gaps(bench.tell(31, Gap("meter", "sampling_overrun", at(29), at(31)))) == [
        ("sampling_overrun", 29, 31, ["meter.*"], "unknown", {})
    ]


def test_declared_gap_of_foreign_tags_is_not_ours(bench):
    """A gap of tags that no event of the unit is made from is not declared in its stream."""
    assert bench.tell(30, Gap("plc1", "queue_overflow", at(28), at(30), ("weight",))) == []


def test_declared_gap_inside_a_loss_is_part_of_it(bench):
    """While a device's loss is open, what its driver declares widens it."""
    bench.down(462, last_good=450)
    assert bench.tell(463, Gap("plc1", "sampling_overrun", at(449), at(463))) == []
    bench.up(481)
    assert bench.tell(482, Gap("plc1", "invalid_reply", at(481), at(482))) == []
    bench.see(482, 1062)
    assert gaps(bench.see(482, 30, "plc1.reject")) == [("comm_loss", 449, 482, ["plc1.*"], "unknown", {"total": 62})]


def test_first_connection_is_no_gap():
    """A device that comes up for the first time lost nothing."""
    made = Bench(*rules())
    made.up(1)
    made.see(1, 1000)
    made.see(1, 30, "plc1.reject")
    assert made.of("collection.gap") == []


def test_quiet_moments_cost_no_commit(bench):
    """Good samples and ticks without anything open leave the state as it is."""
    before = bench.states["gap"]
    bench.see(2, True, "heater.high")
    bench.tick(3)
    assert bench.states["gap"] is before


def test_unknown_counter_tag_is_refused():
    """A counter's tag that no device has is refused when the rule is built."""
    with pytest.raises(ValueError, match=r"counters\.total\.tag: no device has a tag 'plc1\.cuont'"):
        build(GapConfig(), unit="filler", tags=TAGS, counters={"total": "plc1.cuont"})
