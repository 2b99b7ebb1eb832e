"""Clocks and the MES: what comes late, what is stamped wrongly, and context that no PLC knows."""

from __future__ import annotations

from golden_story import BERLIN, Story, trace

from edge_agent.model.reading import ClockOffset

TOTAL = {"counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s"}}}
STATE = {"state": {"tag": "plc1.state"}}
BOTH = {"count": "int32", "state": "int32"}
MES = {"context": {"order": {"mqtt": "acme/mes/press/order"}, "product": {"mqtt": "acme/mes/press/order", "member": "product"}}}


@trace(unit={**TOTAL, **MES}, plc1={"count": "int32"})
def order_from_the_mes(story: Story) -> None:
    """Orders that a topic of the MES names: the first is a baseline, a change ends one and starts the next; none is named at the end."""
    story.at(0, count=0)
    story.mes(2, order="WO-1", product="4711")
    story.at(5, count=6)
    story.mes(8, order="WO-2", product="4712")
    story.at(10, count=9)
    story.mes(12, order=None)
    story.at(15, count=11)
    story.wait(17)


@trace(unit={**TOTAL, **MES}, plc1={"count": "int32"})
def order_from_the_mes_over_losses(story: Story) -> None:
    """A PLC that is lost hides no order of the MES; one that is named while the agent is away is retained at the broker."""
    story.mes(0, order="WO-1", product="4711")
    story.at(1, count=0)
    story.cut(4)
    story.mes(6, order="WO-2", product="4711")
    story.at(8, count=12)
    story.join(12)
    story.gone(16)
    story.mes(20, order="WO-3", product="4713")
    story.back(25)
    story.at(28, count=15)
    story.wait(30)


@trace(unit={**TOTAL, **MES}, plc1={"count": "int32"})
def order_from_the_mes_changed_while_away(story: Story) -> None:
    """Parts were made and the order was changed while the agent was away: whose they are nobody knows. The second time the same order still stands."""
    story.mes(0, order="WO-1", product="4711")
    story.at(1, count=0)
    story.at(4, count=3)
    story.gone(6)
    story.at(8, count=5)
    story.mes(10, order="WO-2", product="4711")
    story.at(12, count=9)
    story.back(15)
    story.at(18, count=10)
    story.gone(20)
    story.at(22, count=12)
    story.back(24)
    story.at(26, count=13)
    story.mes(28, order="WO-3")
    story.wait(30)


@trace(unit={**TOTAL, **STATE, "reorder": "2s"}, plc1=BOTH, meter={"kw": "float32"})
def samples_in_the_reorder_window(story: Story) -> None:
    """Samples that come up to two seconds late take their place; one that comes later still is told as late."""
    story.at(0, count=0, state=6)
    story.at(3, count=3)
    story.at(4, state=2, sampled=3.5)
    story.at(4.2, count=4, sampled=3.2)
    story.at(20, state=6)
    story.at(30, count=9, sampled=12)
    story.wait(35)


@trace(unit={**TOTAL, **STATE}, plc1=BOTH)
def plc_clock_stepped(story: Story) -> None:
    """The PLC's clock is set forward by an hour and back: no negative duration, no lost part."""
    story.at(0, count=0, state=6)
    story.at(5, count=5, sampled=3605)
    story.at(8, state=2, sampled=3608)
    story.at(20, state=6, sampled=3620)
    story.at(25, count=9, sampled=25)
    story.at(28, state=2, sampled=28)
    story.at(40, state=6, sampled=40)
    story.wait(45)


@trace(unit={**TOTAL, **STATE}, plc1=BOTH)
def plc_clock_offset_measured(story: Story) -> None:
    """A PLC whose clock is measured to be 1.5 s ahead: its stamps stand, and each event says by how much."""
    story.at(0, count=0, state=6)
    story.note(1, ClockOffset("plc1", story.ns(1), 1_500_000_000))
    story.at(5, count=5, sampled=6.5)
    story.at(9, state=2, sampled=10.5)
    story.kill(12, 16)
    story.at(20, state=6, sampled=21.5)
    story.wait(25)


@trace(unit={**TOTAL, **STATE}, plc1=BOTH, shifts=BERLIN, time_zone="Europe/Berlin", start="1970-01-01T00:00:10Z")
def gateway_without_time(story: Story) -> None:
    """The gateway starts in 1970 and gets the time five seconds later: no part is lost, and of all shifts of 56 years the one that is now is told."""
    story.at(0, count=0, state=6)
    story.at(3, count=3)
    story.leap(1_780_293_600)
    story.at(1_780_293_602, count=6)
    story.at(1_780_293_605, state=2)
    story.kill(1_780_293_610, 1_780_293_615)
    story.at(1_780_293_620, state=6, count=9)
    story.wait(1_780_293_625)


@trace(unit={**TOTAL, **STATE}, plc1=BOTH, unstamped=["plc1"])
def gateway_clock_set_forward(story: Story) -> None:
    """The gateway's clock is set forward by two minutes in a stop, over a device without a clock: the stop is that much longer."""
    story.at(0, count=0, state=6)
    story.at(4, count=4)
    story.at(6, state=2)
    story.leap(130)
    story.at(135, state=6)
    story.at(138, count=7)
    story.wait(140)
