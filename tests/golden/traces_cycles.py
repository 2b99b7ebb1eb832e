"""Machine cycles: by a register that counts them, by one bit, by two edges; what is read with their end, and what a loss hides."""

from __future__ import annotations

from golden_story import BAD, Story, trace

REGISTER = {"tag": "plc1.cycles", "wraps": "uint16", "max_rate": "1/s"}
COUNTED = {
    "cycles": {
        "press": {
            "count": REGISTER,
            "duration": "plc1.ms",
            "duration_unit": "ms",
            "cavities": 4,
            "ideal": "3s",
            "result": "plc1.res",
            "results": {1: "ok", 2: "nok"},
            "params": {"peak": "plc1.peak"},
        }
    }
}
COUNTED_TAGS = {"cycles": "uint16", "ms": "uint32", "res": "int16", "peak": "float32"}
BIT = {"cycles": {"press": {"running": "plc1.run", "ideal": "4s"}}}
EDGES = {
    "cycles": {"weld": {"start": "plc1.on", "end": "plc1.off", "abort": "plc1.stop", "number": "plc1.no", "cavities": "plc1.cav"}}
}
EDGE_TAGS = {"on": "bool", "off": "bool", "stop": "bool", "no": "uint32", "cav": "uint16"}


def stroke(story: Story, t: float, cycles: int, ms: int = 3100, res: int = 1, peak: float = 812.5) -> None:
    """Have the press end a cycle: its figures stand there before the count."""
    story.at(t, cycles=cycles, ms=ms, res=res, peak=peak)


@trace(unit={"cycles": {"press": {"count": REGISTER, "cavities": 2}}}, plc1={"cycles": "uint16"})
def cycle_by_counter(story: Story) -> None:
    """One cycle, then two between two looks: one event of two cycles, four parts."""
    story.at(0, cycles=65533)
    story.at(4, cycles=65534)
    story.at(9, cycles=0)
    story.wait(12)


@trace(unit=COUNTED, plc1=COUNTED_TAGS)
def cycle_by_counter_with_figures(story: Story) -> None:
    """Duration, result and parameters are read with the count; what a table does not know is told as it is."""
    stroke(story, 0, 100)
    stroke(story, 4, 101, 3100, 1)
    stroke(story, 8, 102, 3900, 2, 640.25)
    stroke(story, 12, 103, 3000, 7)
    stroke(story, 17, 105, 3050, 1)
    story.wait(20)


@trace(unit=COUNTED, plc1=COUNTED_TAGS)
def cycle_figures_bad(story: Story) -> None:
    """A result that cannot be read makes its cycle uncertain; the cycle is told all the same."""
    stroke(story, 0, 100)
    story.at(4, cycles=101, ms=3100, res=BAD, peak=800.0)
    stroke(story, 8, 102)
    story.wait(10)


@trace(unit=COUNTED, plc1=COUNTED_TAGS)
def cycle_counter_over_link_loss(story: Story) -> None:
    """Cycles of a loss are recovered as one event without a duration."""
    stroke(story, 0, 100)
    stroke(story, 4, 101)
    story.cut(6)
    stroke(story, 30, 109)
    story.join(33)
    stroke(story, 36, 110)
    story.wait(40)


@trace(unit=COUNTED, plc1=COUNTED_TAGS)
def cycle_counter_over_agent_restart(story: Story) -> None:
    """The agent is away for three cycles."""
    stroke(story, 0, 100)
    stroke(story, 4, 101)
    story.gone(6)
    stroke(story, 16, 104)
    story.back(20)
    stroke(story, 24, 105)
    story.wait(28)


@trace(unit=BIT, plc1={"run": "bool"})
def cycle_by_bit(story: Story) -> None:
    """One bit that is on during a cycle: its edges give begin, end and duration."""
    story.at(0, run=False)
    story.at(2, run=True)
    story.at(6.25, run=False)
    story.at(8, run=True)
    story.at(11.5, run=False)
    story.wait(14)


@trace(unit=BIT, plc1={"run": "bool"})
def cycle_by_bit_over_link_loss(story: Story) -> None:
    """A loss in a cycle: when it ended is an interval, and whether it was the same one nobody knows."""
    story.at(0, run=False)
    story.at(2, run=True)
    story.cut(4)
    story.at(9, run=False)
    story.join(12)
    story.at(14, run=True)
    story.at(18, run=False)
    story.wait(20)


@trace(unit=BIT, plc1={"run": "bool"})
def cycle_by_bit_over_plc_restart(story: Story) -> None:
    """The PLC restarts in a cycle: it was aborted, and what runs then is a baseline."""
    story.boot(0, 7)
    story.at(0, run=False)
    story.at(2, run=True)
    story.cut(4)
    story.boot(8, 8)
    story.at(8, run=False)
    story.join(10)
    story.at(13, run=True)
    story.at(17, run=False)
    story.wait(20)


@trace(unit=BIT, plc1={"run": "bool"})
def cycle_by_bit_over_agent_restart(story: Story) -> None:
    """The agent is killed in a cycle and comes back while it runs."""
    story.at(0, run=False)
    story.at(2, run=True)
    story.kill(3, 6)
    story.at(8, run=False)
    story.wait(10)


@trace(unit=EDGES, plc1=EDGE_TAGS)
def cycle_by_edges(story: Story) -> None:
    """Begin and end by two bits, with number and cavities; the second is aborted, the third's end is never seen."""
    story.at(0, {"on": False, "off": False, "stop": False, "no": 0, "cav": 2})
    for k in range(1, 4):
        story.at(5 * k, {"on": True, "no": k})
        story.at(5 * k + 0.5, {"on": False})
        if k < 3:
            story.at(5 * k + 3, {"stop": k == 2, "off": True})
            story.at(5 * k + 3.5, {"off": False, "stop": False})
    story.at(20, {"on": True, "no": 4})
    story.wait(22)
