"""States, downtimes, modes, orders and shifts: what a machine does over a while."""

from __future__ import annotations

from golden_story import BAD, BERLIN, Story, trace

from edge_agent.model.reading import Gap, Recovered

STATE = {
    "state": {"tag": "plc1.state", "model": "packml", "starved": "plc1.starved", "blocked": "plc1.blocked", "micro_stop": "10s"}
}
FLAGS = {"state": "int32", "starved": "bool", "blocked": "bool"}
TOTAL = {"counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s"}}}
ORDER = {"context": {"order": "plc1.order", "product": "plc1.product", "lot": "plc1.lot"}}
NAMES = {"order": "string", "product": "string", "lot": "string"}


@trace(unit=STATE, plc1=FLAGS)
def state_packml_round(story: Story) -> None:
    """Idle, starting, running, completing and complete: no stop is a downtime."""
    for t, state in enumerate((4, 3, 6, 16, 17, 15, 4)):
        story.at(2 * t, state=state, starved=False, blocked=False)
    story.wait(16)


@trace(unit=STATE, plc1=FLAGS)
def state_unknown_code(story: Story) -> None:
    """A code that no table knows is told with its raw number."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(5, state=99)
    story.at(9, state=6)
    story.wait(12)


@trace(unit={"state": {**STATE["state"], "debounce": "200ms"}}, plc1=FLAGS)
def state_flicker_debounced(story: Story) -> None:
    """6, 5, 6 within 80 ms is chatter, within 400 ms it is a stop with the first edge's time."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(3, state=5)
    story.at(3.08, state=6)
    story.at(6, state=5)
    story.at(6.4, state=6)
    story.wait(9)


@trace(unit=STATE, plc1=FLAGS)
def state_illegal_jump(story: Story) -> None:
    """Execute to Stopped without Stopping: an intermediate state was missed, none is invented."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(4, state=2)
    story.at(30, state=6)
    story.wait(32)


@trace(unit=STATE, plc1=FLAGS)
def state_lost_and_the_same(story: Story) -> None:
    """A loss while running: Unknown since the last good sample, then running again; no downtime."""
    story.at(0, state=6, starved=False, blocked=False)
    story.cut(5)
    story.join(20)
    story.wait(25)


@trace(unit=STATE, plc1=FLAGS)
def state_lost_and_another(story: Story) -> None:
    """A loss in which the machine stopped: when is known only as an interval."""
    story.at(0, state=6, starved=False, blocked=False)
    story.cut(5)
    story.at(12, state=9)
    story.join(20)
    story.at(40, state=6)
    story.wait(45)


@trace(unit=STATE, plc1=FLAGS)
def state_bad_quality(story: Story) -> None:
    """The state's tag is bad for longer than stale_after: a gap, and the state stands as it was seen."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(3, state=BAD)
    story.at(12, state=6)
    story.wait(15)


@trace(unit=STATE, plc1=FLAGS)
def state_plc_restart(story: Story) -> None:
    """The PLC restarts: its state goes through Unknown."""
    story.boot(0, 7)
    story.at(0, state=6, starved=False, blocked=False)
    story.cut(5)
    story.boot(8, 8)
    story.at(8, state=2)
    story.join(15)
    story.wait(20)


@trace(unit={"state": {"tag": "plc1.state", "model": "weihenstephan"}}, plc1={"state": "int32"})
def state_weihenstephan(story: Story) -> None:
    """A bottling machine with Weihenstephan codes."""
    for t, state in enumerate((128, 16, 128, 2, 128)):
        story.at(5 * t, state=state)
    story.wait(28)


@trace(unit={"state": {"tag": "plc1.state", "model": "mtconnect"}}, plc1={"state": "string"})
def state_mtconnect_words(story: Story) -> None:
    """States as words."""
    for t, state in enumerate(("READY", "ACTIVE", "FEED_HOLD", "ACTIVE", "UNAVAILABLE", "ACTIVE")):
        story.at(5 * t, state=state)
    story.wait(30)


@trace(
    unit={"state": {**STATE["state"], "reason": {"tag": "plc1.stop", "wait": "2s", "texts": {2101: "Capper torque"}}}},
    plc1={**FLAGS, "stop": "int32"},
)
def downtime_reason_in_time(story: Story) -> None:
    """A fault whose reason latches a second after the state."""
    story.at(0, state=6, starved=False, blocked=False, stop=0)
    story.at(10, state=8)
    story.at(11, stop=2101)
    story.at(12, state=9)
    story.at(130, state=2)
    story.at(140, state=6, stop=0)
    story.wait(145)


@trace(unit={"state": {**STATE["state"], "reason": {"tag": "plc1.stop", "wait": "2s"}}}, plc1={**FLAGS, "stop": "int32"})
def downtime_reason_late(story: Story) -> None:
    """A reason that comes half a minute after the stop."""
    story.at(0, state=6, starved=False, blocked=False, stop=0)
    story.at(10, state=11)
    story.at(40, stop=17)
    story.at(60, state=6, stop=0)
    story.wait(65)


@trace(unit=STATE, plc1=FLAGS)
def downtime_micro(story: Story) -> None:
    """Suspended for 4 s for want of bottles: a micro-stop."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(10, state=5, starved=True)
    story.at(14, state=6, starved=False)
    story.wait(18)


@trace(unit=STATE, plc1=FLAGS)
def downtime_blocked_then_faulted(story: Story) -> None:
    """A downtime ends with the worst that it went through."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(10, state=5, blocked=True)
    story.at(30, state=8)
    story.at(31, state=9)
    story.at(60, state=6, blocked=False)
    story.wait(62)


@trace(unit=STATE, plc1=FLAGS)
def downtime_over_agent_restart(story: Story) -> None:
    """The agent is killed in a downtime and comes back after its end."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(10, state=9)
    story.gone(20)
    story.at(50, state=6)
    story.back(60)
    story.wait(65)


@trace(unit=STATE, plc1=FLAGS)
def downtime_over_link_loss(story: Story) -> None:
    """The link is lost in a downtime and comes back while it lasts."""
    story.at(0, state=6, starved=False, blocked=False)
    story.at(10, state=11)
    story.cut(20)
    story.join(40)
    story.at(60, state=6)
    story.wait(65)


@trace(unit={"state": {**STATE["state"], "mode": "plc1.mode"}, **TOTAL}, plc1={**FLAGS, "mode": "int32", "count": "int32"})
def mode_maintenance_ends_downtime(story: Story) -> None:
    """Maintenance splits a downtime; parts made in it are not production's."""
    story.at(0, state=6, mode=1, count=10, starved=False, blocked=False)
    story.at(5, count=15)
    story.at(10, state=2)
    story.at(30, mode=2)
    story.at(40, state=6, count=18)
    story.at(50, mode=1, count=20)
    story.at(52, count=22)
    story.wait(55)


@trace(unit={"state": STATE["state"], **ORDER, "downtime": {"when": "with_order"}}, plc1={**FLAGS, **NAMES})
def downtime_with_order_only(story: Story) -> None:
    """A stop without an order is none; the order's end ends one."""
    story.at(0, state=6, starved=False, blocked=False, order="", product="", lot="")
    story.at(5, state=2)
    story.at(10, state=6)
    story.at(15, order="WO-1")
    story.at(20, state=2)
    story.at(30, order="")
    story.at(35, state=6)
    story.wait(40)


@trace(unit={**TOTAL, **ORDER}, plc1={"count": "int32", **NAMES})
def order_cleared_and_set_in_one_scan(story: Story) -> None:
    """A to B in one sample: completed and started at the same time, counts of the scan before both."""
    story.at(0, order="WO-1", product="4711", lot="L-A", count=0)
    story.each(1, 5, 1, lambda k: {"count": 2 * (k + 1)})
    story.at(6, order="WO-2", product="4712", lot="L-B", count=12)
    story.at(8, count=15)
    story.wait(10)


@trace(unit={**TOTAL, **ORDER}, plc1={"count": "int32", **NAMES})
def order_changed_in_link_loss(story: Story) -> None:
    """An order that changed unseen: the parts of the loss belong to nobody for certain."""
    story.at(0, order="WO-1", product="4711", lot="L-A", count=0)
    story.at(5, count=10)
    story.cut(6)
    story.at(20, order="WO-2", count=40)
    story.join(30)
    story.at(32, count=44)
    story.wait(35)


@trace(unit={**TOTAL, **ORDER}, plc1={"count": "int32", **NAMES})
def order_with_gap_between(story: Story) -> None:
    """One order ends, parts are made without one, another begins."""
    story.at(0, order="WO-1", product="4711", lot="L-A", count=0)
    story.at(5, count=5)
    story.at(10, order="", count=9)
    story.at(15, count=12)
    story.at(20, order="WO-2", count=14)
    story.at(25, count=16)
    story.wait(27)


@trace(unit={**TOTAL, **ORDER}, plc1={"count": "int32", **NAMES})
def lot_changed_within_order(story: Story) -> None:
    """Another lot in the same order."""
    story.at(0, order="WO-1", product="4711", lot="L-A", count=0)
    story.at(5, count=5)
    story.at(10, lot="L-B", count=8)
    story.at(15, count=12)
    story.wait(17)


@trace(unit={**TOTAL, **ORDER}, plc1={"count": "int32", **NAMES})
def order_over_agent_restart(story: Story) -> None:
    """An order changes while the agent is away."""
    story.at(0, order="WO-1", product="4711", lot="L-A", count=0)
    story.at(5, count=5)
    story.gone(8)
    story.at(20, order="WO-2", count=30)
    story.back(30)
    story.at(32, count=33)
    story.wait(35)


@trace(unit=TOTAL, plc1={"count": "int32"}, shifts=BERLIN, time_zone="Europe/Berlin", start="2026-06-01T03:59:50Z")
def shift_boundary(story: Story) -> None:
    """Night to morning at 06:00 in Berlin, counts on both sides."""
    story.each(0, 20, 0.5, lambda k: {"count": k})
    story.wait(22)


@trace(unit=TOTAL, plc1={"count": "int32"}, shifts=BERLIN, time_zone="Europe/Berlin", start="2026-10-24T19:59:58Z", ticks=600)
def shift_dst_autumn(story: Story) -> None:
    """The night over the change to winter time lasts nine hours, and 02:30 is crossed twice."""
    story.at(0, count=0)
    story.at(3, count=4)
    for hour in range(1, 9):
        story.at(3600 * hour, count=4 + 100 * hour)
    story.at(3600 * 9 + 5, count=950)
    story.wait(3600 * 9 + 8)


@trace(unit=TOTAL, plc1={"count": "int32"}, shifts=BERLIN, time_zone="Europe/Berlin", start="2026-03-28T20:59:58Z", ticks=600)
def shift_dst_spring(story: Story) -> None:
    """The night over the change to summer time lasts seven hours."""
    story.at(0, count=0)
    for hour in range(1, 7):
        story.at(3600 * hour, count=100 * hour)
    story.at(3600 * 7 + 5, count=720)
    story.wait(3600 * 7 + 8)


@trace(unit=TOTAL, plc1={"count": "int32"}, shifts=BERLIN, time_zone="Europe/Berlin", start="2026-06-01T03:59:00Z")
def shift_boundary_in_link_loss(story: Story) -> None:
    """The boundary falls into a loss: the parts of both sides come as one."""
    story.at(0, count=0)
    story.at(20, count=10)
    story.cut(30)
    story.at(90, count=60)
    story.join(90)
    story.at(95, count=63)
    story.wait(98)


@trace(unit=TOTAL, plc1={"count": "int32"}, shifts=BERLIN, time_zone="Europe/Berlin", start="2026-06-01T03:59:00Z")
def shift_boundary_while_agent_is_away(story: Story) -> None:
    """The boundary falls into an absence of the agent."""
    story.at(0, count=0)
    story.at(20, count=10)
    story.gone(30)
    story.at(90, count=60)
    story.back(95)
    story.at(97, count=63)
    story.wait(100)


@trace(unit={**STATE, **TOTAL}, plc1={**FLAGS, "count": "int32"})
def history_closes_the_gap(story: Story) -> None:
    """A server's history tells states and counts of a loss: nothing is missing but the connection."""
    story.at(0, state=6, count=0, starved=False, blocked=False)
    story.at(5, count=5)
    story.cut(6)
    story.history(
        60, (10, "count", 9), (20, "state", 9), (50, "state", 6), (55, "count", 12), notices=[Recovered("plc1", story.ns(60))]
    )
    story.at(61, count=13)
    story.wait(65)


@trace(unit={**STATE, **TOTAL}, plc1={**FLAGS, "count": "int32"})
def gap_sampling_overrun(story: Story) -> None:
    """The driver's queue overflowed for everything: the state may have changed unseen."""
    story.at(0, state=6, count=0, starved=False, blocked=False)
    story.at(2, count=2)
    story.note(8, Gap("plc1", "sampling_overrun", story.ns(2), story.ns(8), count=40))
    story.at(9, count=9)
    story.wait(12)


METERED = {"counters": {"total": {"tag": "meter.count", "role": "total", "wraps": "uint16", "max_rate": "3/s"}}}


@trace(unit={**STATE, **METERED}, plc1=FLAGS, meter={"count": "uint16"}, unstamped=["meter"])
def two_devices_one_unit(story: Story) -> None:
    """State from a PLC with a clock, counts from a Modbus counter without; each is lost alone."""
    story.at(0, {"plc1.state": 6, "plc1.starved": False, "plc1.blocked": False, "meter.count": 0})
    story.each(1, 10, 1, lambda k: {"meter.count": k + 1})
    story.at(10.5, state=5)
    story.cut(12, "meter")
    story.at(15, {"plc1.state": 6, "meter.count": 17})
    story.join(18, "meter")
    story.at(19, {"meter.count": 20})
    story.cut(20)
    story.join(25)
    story.wait(30)
