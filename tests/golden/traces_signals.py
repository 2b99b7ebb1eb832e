"""What is made from other things: derived tags, states from bits and counts, words of alarms, tables of reasons, what cannot be true."""

from __future__ import annotations

from golden_story import BAD, Quality, Sample, Story, trace

from edge_agent.model.reading import Boot

COUNT = {"wraps": "packml", "max_rate": "3/s"}
GOOD = {
    "derived": {"good": {"expr": "total - scrap", "tags": {"total": "plc1.total", "scrap": "plc1.scrap"}, "same_read_as": "total"}},
    "counters": {
        "total": {"tag": "plc1.total", "role": "total", **COUNT},
        "scrap": {"tag": "plc1.scrap", "role": "scrap", **COUNT},
        "good": {"tag": "plc1.good", "role": "good", **COUNT},
    },
}


@trace(unit=GOOD, plc1={"total": "int32", "scrap": "int32"})
def derived_good_from_one_read(story: Story) -> None:
    """Good parts are total minus scrap of one read, over a bad sample and a loss."""
    story.at(0, total=10, scrap=1)
    story.at(2, total=14, scrap=2)
    story.at(4, total=16, scrap=BAD)
    story.at(6, total=18, scrap=3)
    story.cut(8)
    story.at(14, total=30, scrap=5)
    story.join(18)
    story.at(20, total=33)
    story.wait(22)


HOT = {
    "derived": {"hot": {"expr": "(a + b) / 2 > 80", "tags": {"a": "plc1.a", "b": "plc1.b"}}},
    "alarms": {"hot": {"bit": "plc1.hot", "text": "Too hot"}},
}


@trace(unit=HOT, plc1={"a": "float32", "b": "float32"})
def derived_bit_raises_an_alarm(story: Story) -> None:
    """The mean of two sensors that come one after another; what is behind a loss is known no more."""
    story.at(0, a=70.0, b=75.0)
    story.at(3, a=90.0)
    story.at(5, b=60.0)
    story.cut(7)
    story.at(9, a=95.0)
    story.join(12)
    story.kill(15, 20)
    story.at(22, b=40.0)
    story.wait(24)


BITS = {
    "state": {
        "bits": [
            {"when": "plc1.fault", "is": "faulted"},
            {"when": {"tag": "plc1.word", "bit": 3}, "is": "starved"},
            {"when": "plc1.run", "is": "running"},
        ],
        "else": "idle",
        "micro_stop": "5s",
    }
}
BIT_TAGS = {"fault": "bool", "word": "uint16", "run": "bool"}


@trace(unit=BITS, plc1=BIT_TAGS)
def state_from_bits(story: Story) -> None:
    """The first bit that holds: a fault goes before want of parts, and that before running."""
    story.at(0, fault=False, word=0, run=True)
    story.at(5, word=8)
    story.at(8, fault=True)
    story.at(20, fault=False)
    story.at(22, word=0)
    story.at(30, run=False)
    story.at(35, word=Sample(4, Quality.UNCERTAIN), run=True)
    story.wait(40)


@trace(unit=BITS, plc1=BIT_TAGS)
def state_from_bits_over_losses(story: Story) -> None:
    """Unknown while nobody knows: a loss, a restart of the PLC, an absence of the agent."""
    story.boot(0, 1)
    story.at(0, fault=False, word=0, run=True)
    story.cut(5)
    story.at(8, fault=True)
    story.join(12)
    story.note(16, Boot("plc1", story.ns(16), 2))
    story.at(17, fault=False, word=0, run=True)
    story.gone(20)
    story.at(25, word=8)
    story.back(30)
    story.at(33, word=0)
    story.wait(36)


@trace(unit={"state": {"derive": {"counts": "plc1.count", "within": "10s"}}}, plc1={"count": "uint32"})
def state_from_a_count(story: Story) -> None:
    """It runs while its counter moves, and stopped with its last part once that stood for ten seconds."""
    story.each(0, 10, 2, lambda k: {"count": k})
    story.at(40, count=6)
    story.cut(42)
    story.at(50, count=9)
    story.join(60)
    story.at(63, count=10)
    story.wait(80)


@trace(
    unit={"state": {"derive": {"when": {"tag": "meter.amps", "above": 2.5}}, "debounce": "1s"}},
    meter={"amps": "float32"},
    unstamped=["meter"],
)
def state_from_a_current(story: Story) -> None:
    """It runs while its motor draws more than 2.5 A; a dip of half a second is none."""
    for t, amps in ((0, 0.2), (3, 7.5), (8, 1.0), (8.5, 7.25), (12, 0.25), (20, 6.0)):
        story.at(t, {"meter.amps": amps})
    story.wait(25)


ALARMS = {
    "file": "alarms.csv",
    "rows": [
        {"code": 0, "id": "A1000", "text": "Emergency stop", "severity": 900, "kind": "safety"},
        {"code": 3, "text": "Low air", "severity": 400},
        {"code": 17, "id": "A1017", "text": "Door open"},
    ],
}
WORDS = {
    "alarms": {"words": {"words": ["plc1.w0", "plc1.w1"], "table": ALARMS, "severity": 300, "class": "process", "chatter": "3/min"}}
}


@trace(unit={**WORDS, "state": {"tag": "plc1.state"}}, plc1={"w0": "uint16", "w1": "uint16", "state": "int32"})
def alarm_words_and_first_out(story: Story) -> None:
    """Bits of two words by a table; the first of a fault is marked, a bit that no line knows keeps its number."""
    story.at(0, w0=0, w1=0, state=6)
    story.at(5, w1=2)
    story.at(5.4, w0=1, state=8)
    story.at(6, w0=0b1000_1001, state=9)
    story.at(20, w0=0, w1=0)
    story.at(22, state=2)
    story.at(30, state=6)
    story.wait(33)


@trace(unit=WORDS, plc1={"w0": "uint16", "w1": "uint16"})
def alarm_word_that_chatters(story: Story) -> None:
    """One bit flickers over a kill of the agent: one alarm that chatters; the bit beside it is told as ever."""
    story.at(0, w0=0, w1=0)
    story.each(1, 9, 1, lambda k: {"w0": 8 * (k % 2)})
    story.kill(10, 12)
    story.each(13, 16, 1, lambda k: {"w0": 8 * (k % 2), "w1": 2 * (k == 2)})
    story.wait(120)


REASONS = {
    "file": "stops.csv",
    "rows": [
        {"code": 17, "text": "No pallets", "language": "en", "mes": "DT-17", "category": "logistics"},
        {"code": 17, "text": "Keine Paletten", "language": "de", "mes": "DT-17", "category": "logistics"},
    ],
}


@trace(
    unit={"state": {"tag": "plc1.state", "reason": {"tag": "plc1.stop", "wait": "2s", "table": REASONS, "language": "de"}}},
    plc1={"state": "int32", "stop": "int32"},
)
def downtime_reason_by_table(story: Story) -> None:
    """A reason with the words and the MES code of its table, late; one that no line knows has its number; the agent is killed before it."""
    story.at(0, state=6, stop=0)
    story.at(5, state=2)
    story.kill(8, 15)
    story.at(20, stop=17)
    story.at(30, state=6, stop=0)
    story.at(40, state=2)
    story.at(45, stop=99)
    story.at(60, state=6, stop=0)
    story.wait(65)


@trace(unit={"state": {"tag": "plc1.state", "mode": "plc1.mode"}}, plc1={"state": "int32", "mode": "int32"})
def mode_change_splits_downtime(story: Story) -> None:
    """Maintenance in a stop ends its downtime; behind it the machine still stands, so a new one begins with the mode."""
    story.at(0, state=6, mode=1)
    story.at(10, state=2)
    story.at(30, mode=2)
    story.at(60, mode=1)
    story.kill(65, 70)
    story.at(80, state=6)
    story.at(90, state=2)
    story.at(95, mode=3)
    story.wait(100)


@trace(unit={"state": {"tag": "plc1.state", "mode": "plc1.mode"}}, plc1={"state": "int32", "mode": "int32"})
def mode_change_finds_standing(story: Story) -> None:
    """Production comes back: a machine that faulted in maintenance is down, an idle one waits, and a loss leaves only what was down."""
    story.at(0, state=6, mode=1)
    story.at(10, mode=2)
    story.at(20, state=9)
    story.at(30, mode=1)
    story.at(40, state=6)
    story.at(50, mode=2)
    story.at(55, state=4)
    story.at(60, mode=1)
    story.at(65, state=6)
    story.at(70, state=11)
    story.at(75, mode=2)
    story.cut(80)
    story.at(85, mode=1)
    story.join(95)
    story.at(100, state=6)
    story.wait(105)


DOUBTS = {
    "counters": {"total": {"tag": "plc1.count", "role": "total", **COUNT}},
    "state": {"tag": "plc1.state"},
    "plausibility": {
        "still": {"frozen": "total", "after": "20s"},
        "ghost": {"moving": "total", "parts": 2, "after": "20s"},
        "alive": {"heartbeat": "plc1.beat", "after": "5s"},
    },
}


@trace(unit=DOUBTS, plc1={"count": "int32", "state": "int32", "beat": "bool"})
def signals_that_cannot_be_true(story: Story) -> None:
    """A machine that runs and counts nothing, one that stands and counts, a heart that stands; all over a kill and a loss."""
    story.at(0, count=0, state=6, beat=False)
    story.each(1, 30, 1, lambda k: {"beat": k % 2 == 0})
    story.at(31, count=2, beat=False)
    story.kill(32, 34)
    story.at(41, state=2, beat=True)
    story.each(50, 56, 2, lambda k: {"count": 3 + k, "beat": k % 2 == 0})
    story.cut(60)
    story.join(64)
    story.at(66, state=6, beat=False)
    story.at(68, count=8, beat=True)
    story.wait(75)
