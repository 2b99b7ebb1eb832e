"""Counters: wraps, resets, restarts, lies and losses (the counter rows of the edge-case matrix, and what lies between them)."""

from __future__ import annotations

from typing import Any

from golden_story import BAD, Quality, Sample, Story, trace

from edge_agent.model.reading import Gap, Recovered


def counting(wraps: str = "packml", max_rate: str = "3/s", **more: Any) -> dict[str, Any]:
    """Return a unit with one counter."""
    return {"counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": wraps, "max_rate": max_rate, **more}}}


STEPS = {
    # name: wraps, max rate, type, before, after, seconds between, about
    "counter_uint16_wraps": ("uint16", "1/s", "uint16", 65535, 0, 13, "65535 to 0 in 13 s: a wrap, one part"),
    "counter_uint16_wraps_far": ("uint16", "1/s", "uint16", 65500, 10, 60, "65500 to 10 in 60 s: a wrap, 46 parts"),
    "counter_uint16_reset": ("uint16", "1/s", "uint16", 60000, 10, 60, "60000 to 10 in 60 s at 1/s: a reset, for no wrap is that fast"),
    "counter_packml_wraps": ("packml", "3/s", "int32", 2147483647, 0, 1, "PackML wraps at 2^31"),
    "counter_dint_negative": ("dint", "3/s", "int32", 2147483647, -2147483648, 1, "a DINT goes on below zero: one part, no wrap"),
    "counter_dint_wraps": ("dint", "3/s", "int32", -1, 0, 1, "a DINT's bits are all ones, then zero: a wrap"),
    "counter_zeroed": ("packml", "3/s", "int32", 784, 0, 1, "784 to 0: a reset, nothing counted"),
    "counter_block_initialised": ("packml", "3/s", "int32", 8211, 3, 1, "a data block was initialised: a reset, three parts"),
    "counter_uint32_wraps": ("uint32", "3/s", "uint32", 4294967290, 4, 20, "UInt32 wraps"),
    "counter_own_modulus": ("modulus:1000", "3/s", "uint16", 998, 5, 10, "a counter with three digits"),
    "counter_never_wraps": ("never", "3/s", "int32", 100, 5, 10, "one that never wraps can only have been reset"),
}  # fmt: skip


def _step(name: str, row: tuple[Any, ...]) -> None:
    wraps, rate, kind, before, after, seconds, about = row

    def tell(story: Story) -> None:
        story.at(0, count=before)
        story.at(seconds, count=after)
        story.at(seconds + 2, count=after + 2)
        story.wait(seconds + 5)

    tell.__doc__ = about
    trace(unit=counting(wraps, rate), plc1={"count": kind}, name=name)(tell)


for _name, _row in STEPS.items():
    _step(_name, _row)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_implausible_confirmed(story: Story) -> None:
    """100 to 400 in a second is held, confirmed by the next sample, and declared; counting goes on from there."""
    story.at(0, count=100)
    story.at(1, count=400)
    story.at(2, count=401)
    story.at(3, count=403)
    story.wait(6)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_implausible_once(story: Story) -> None:
    """One wild value between good ones leaves no trace in the counts."""
    story.at(0, count=100)
    story.at(1, count=90000)
    story.at(2, count=103)
    story.at(3, count=105)
    story.wait(6)


@trace(unit=counting(back_tol=5), plc1={"count": "int32"})
def counter_corrected(story: Story) -> None:
    """Somebody takes three parts off the counter: a negative count."""
    story.at(0, count=100)
    story.at(10, count=97)
    story.at(20, count=99)
    story.wait(21)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_preset(story: Story) -> None:
    """Somebody writes a number into the register that counting cannot have reached."""
    story.at(0, count=5000)
    story.at(1, count=4000)
    story.at(2, count=4001)
    story.at(3, count=4003)
    story.wait(6)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_link_loss_with_wrap(story: Story) -> None:
    """A wrap inside a loss of 31 s: 63 parts, recovered over the whole loss."""
    story.at(0, count=2147483640)
    story.cut(12)
    story.at(20, count=2147483647)
    story.at(31, count=55)
    story.join(31)
    story.at(33, count=57)
    story.wait(36)


@trace(unit=counting(on_restart="zeroes"), plc1={"count": "int32"})
def counter_plc_restart_zeroes(story: Story) -> None:
    """The PLC restarts and its counter begins at 0 again."""
    story.boot(0, 7)
    story.at(0, count=5)
    story.at(3, count=9)
    story.cut(5)
    story.boot(20, 8)
    story.at(20, count=2)
    story.join(25)
    story.at(27, count=6)
    story.wait(30)


@trace(unit=counting(on_restart="keeps"), plc1={"count": "int32"})
def counter_plc_restart_keeps(story: Story) -> None:
    """The PLC restarts and its retentive counter goes on: +4."""
    story.boot(0, 7)
    story.at(0, count=8211)
    story.cut(5)
    story.boot(20, 8)
    story.at(20, count=8215)
    story.join(25)
    story.wait(30)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_plc_restart_unknown(story: Story) -> None:
    """Nobody knows what the counter does at a restart: +4 at least, up to 8211 uncounted."""
    story.boot(0, 7)
    story.at(0, count=8211)
    story.cut(5)
    story.boot(20, 8)
    story.at(20, count=8215)
    story.join(25)
    story.wait(30)


@trace(unit=counting(reset_evidence="plc1.since_reset", on_restart="zeroes"), plc1={"count": "int32", "since_reset": "int32"})
def counter_reset_evidence(story: Story) -> None:
    """A reset that counting has passed again since, shown only by the time since reset."""
    story.at(0, count=10, since_reset=500)
    story.cut(2)
    story.at(60, count=30, since_reset=15)
    story.join(60)
    story.at(62, count=33, since_reset=17)
    story.wait(65)


@trace(
    unit={**counting(reset_policy="per_order"), "context": {"order": "plc1.order"}},
    plc1={"count": "int32", "order": "string"},
)
def counter_per_order(story: Story) -> None:
    """A counter that begins at 0 with each order, changed in one scan with it."""
    story.at(0, order="WO-1", count=0)
    story.each(1, 10, 1, lambda k: {"count": k + 1})
    story.at(11, order="WO-2", count=0)
    story.each(12, 15, 1, lambda k: {"count": k + 1})
    story.cut(16)
    story.at(20, order="WO-3", count=20)
    story.join(20)
    story.wait(25)


@trace(unit=counting(stale_after="10s"), plc1={"count": "int32"})
def counter_bad_quality(story: Story) -> None:
    """Bad for 5 s, then good with ten more: one count, and a gap that lost nothing."""
    story.at(0, count=100)
    story.at(2, count=BAD)
    story.at(7, count=110)
    story.at(9, count=112)
    story.wait(12)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_uncertain_quality(story: Story) -> None:
    """An uncertain value is used, and said to be uncertain."""
    story.at(0, count=100)
    story.at(2, count=Sample(104, Quality.UNCERTAIN, "sensor not calibrated"))
    story.at(4, count=106)
    story.wait(5)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_agent_killed(story: Story) -> None:
    """The agent is away for 20 s at 2/s: one count of 40, recovered."""
    story.at(0, count=100)
    story.each(1, 10, 0.5, lambda k: {"count": 101 + k})
    story.gone(10)
    story.at(29, count=159)
    story.back(30)
    story.at(31, count=161)
    story.wait(35)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_agent_stopped_in_order(story: Story) -> None:
    """A graceful stop closes intervals; the next start goes on."""
    story.at(0, count=100)
    story.at(5, count=110)
    story.gone(8, final=True)
    story.at(60, count=150)
    story.back(68)
    story.at(70, count=152)
    story.wait(75)


@trace(unit=counting("uint16"), plc1={"count": "uint16"}, unstamped=["plc1"])
def counter_without_clock(story: Story) -> None:
    """A Modbus counter, stamped on arrival, through a silent loss."""
    story.each(0, 5, 0.5, lambda k: {"count": 10 + k})
    story.cut(6)
    story.at(9, count=25)
    story.join(10)
    story.each(11, 13, 0.5, lambda k: {"count": 26 + k})
    story.wait(15)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_queue_overflow(story: Story) -> None:
    """The server lost samples of the counter: the next value tells them, nothing is lost."""
    story.at(0, count=100)
    story.at(2, count=103)
    story.note(4, Gap("plc1", "queue_overflow", story.ns(2), story.ns(4), ("count",)))
    story.at(5, count=110)
    story.wait(8)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_late_samples(story: Story) -> None:
    """Samples that the device stamped 8 s ago arrive behind newer ones."""
    story.at(0, count=100)
    story.at(20, count=120)
    story.at(21, {"count": 121}, sampled=12)
    story.at(22, count=123)
    story.wait(25)


@trace(unit=counting(), plc1={"count": "int32"})
def counter_history(story: Story) -> None:
    """What the server kept over a loss comes as history, each sample at its own time."""
    story.at(0, count=100)
    story.at(2, count=102)
    story.cut(5)
    story.history(20, (6, "count", 104), (9, "count", 107), (15, "count", 113), notices=[Recovered("plc1", story.ns(20))])
    story.at(21, count=115)
    story.wait(25)


@trace(
    unit={
        "counters": {
            "total": {"tag": "plc1.count", "role": "total", "wraps": "uint32", "max_rate": "10/s"},
            "scrap": {"tag": "plc1.scrap", "role": "scrap", "wraps": "uint16", "max_rate": "2/s"},
        }
    },
    plc1={"count": {"type": "uint32", "scale": 0.5}, "scrap": "uint16"},
)
def counter_scaled_and_scrap(story: Story) -> None:
    """Two counters of one scan, one scaled by a half."""
    story.each(0, 20, 1, lambda k: {"count": 10 + 2 * k, "scrap": 3 + k // 5})
    story.wait(22)
