"""Alarms, records by handshake, energy, conditions: what comes as facts of its own."""

from __future__ import annotations

from golden_story import BAD, Story, trace

from edge_agent.model.condition import Condition, Refresh

SLOTS = {
    "alarms": {
        "machine": {
            "severity": 800,
            "class": "mechanical",
            "slots": [{"id": f"plc1.id{k}", "trigger": f"plc1.on{k}", "text": f"plc1.text{k}"} for k in range(3)],
        }
    }
}
SLOT_TAGS = {f"{name}{k}": kind for k in range(3) for name, kind in (("id", "int32"), ("on", "bool"), ("text", "string"))}
RECORD = {
    "records": {
        "scale": {
            "pattern": "seq_ack",
            "seq": "plc1.seq",
            "seq_end": "plc1.seq_end",
            "ack": "plc1.ack",
            "fields": {"serial": "plc1.serial", "value": "plc1.weight", "verdict": "plc1.verdict"},
            "verdicts": {1: "ok", 2: "nok"},
            "characteristic": "net_weight",
            "uom": "GRM",
        }
    }
}
RECORD_TAGS = {
    "seq": "uint32",
    "serial": "string",
    "weight": "float32",
    "verdict": "int16",
    "seq_end": "uint32",
    "ack": {"type": "uint32", "acknowledge": True},
}
NOTHING = {f"{name}{k}": empty for k in range(3) for name, empty in (("id", 0), ("on", False), ("text", ""))}


@trace(unit=SLOTS, plc1=SLOT_TAGS)
def alarm_slots_shift_up(story: Story) -> None:
    """The first of two alarms clears and the second moves into its slot: one is cleared, none is raised."""
    story.at(0, NOTHING)
    story.at(5, id0=2101, on0=True, text0="Capper torque")
    story.at(7, id1=2205, on1=True, text1="No caps")
    story.at(12, id0=2205, on0=True, text0="No caps", id1=0, on1=False, text1="")
    story.at(20, id0=0, on0=False, text0="")
    story.wait(22)


@trace(unit=SLOTS, plc1=SLOT_TAGS)
def alarm_over_link_loss(story: Story) -> None:
    """One alarm ends and another begins in a loss."""
    story.at(0, NOTHING)
    story.at(5, id0=2101, on0=True, text0="Capper torque")
    story.cut(8)
    story.at(10, id0=2205, text0="No caps")
    story.join(20)
    story.at(25, id0=0, on0=False, text0="")
    story.wait(28)


@trace(unit=SLOTS, plc1=SLOT_TAGS)
def alarm_over_agent_restart(story: Story) -> None:
    """An alarm that stands over a restart of the agent is raised once."""
    story.at(0, NOTHING)
    story.at(5, id0=2101, on0=True, text0="Capper torque")
    story.kill(8, 30)
    story.at(35, id0=0, on0=False, text0="")
    story.wait(38)


@trace(unit={"alarms": {"hot": {"bit": "plc1.hot", "severity": 500, "text": "Too hot", "chatter": "3/min"}}}, plc1={"hot": "bool"})
def alarm_bit_that_chatters(story: Story) -> None:
    """A bit that rises ten times in ten seconds is told as one alarm that chatters."""
    story.each(0, 10, 0.5, lambda k: {"hot": bool(k % 2)})
    story.at(100, hot=False)
    story.at(130, hot=True)
    story.wait(135)


@trace(unit={"alarms": {"hot": {"bit": "plc1.hot", "text": "Too hot"}}}, plc1={"hot": "bool"})
def alarm_bit_bad(story: Story) -> None:
    """A bad sample neither raises nor clears."""
    story.at(0, hot=False)
    story.at(2, hot=True)
    story.at(4, hot=BAD)
    story.at(6, hot=True)
    story.at(8, hot=False)
    story.wait(10)


@trace(unit={"alarms": {"plant": {"conditions": "plc1.conditions"}}}, plc1={"conditions": "condition"})
def alarm_conditions(story: Story) -> None:
    """What a server's alarm system tells: raised, acknowledged, cleared, and a refresh after a loss."""
    tank = Condition("i=7001", active=True, severity=700, source="Tank", name="Level", message="Level high", acked=False)
    story.at(0, conditions=Refresh("begun"))
    story.at(0.1, conditions=Refresh("done"))
    story.at(3, conditions=tank._replace(time=story.ns(3), since=story.ns(3)))
    story.at(5, conditions=tank._replace(time=story.ns(5), since=story.ns(3), acked=True))
    story.at(9, conditions=tank._replace(time=story.ns(9), since=story.ns(9), acked=True, active=False))
    story.wait(12)


def weigh(story: Story, t: float, seq: int, weight: float, verdict: int = 1) -> None:
    """Have the checkweigher fill its record and set SeqEnd last."""
    story.at(t, seq=seq, serial=f"S{seq:04d}", weight=weight, verdict=verdict, seq_end=seq)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_once_each(story: Story) -> None:
    """Three records, acknowledged; the acknowledgement shows in the PLC."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    for k, weight in enumerate((501.5, 503.0, 498.25), 1):
        weigh(story, 4 * k, k, weight, 1 if weight > 500 else 2)
        story.at(4 * k + 1, ack=k)
    story.wait(16)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_raised_again(story: Story) -> None:
    """The same record is shown again behind a loss: no second event, the acknowledgement once more."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    weigh(story, 4, 1, 501.5)
    story.cut(5)
    story.join(12)
    story.at(13, ack=1)
    weigh(story, 15, 2, 502.5)
    story.wait(18)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_skipped(story: Story) -> None:
    """A jump of the number: two records were overwritten unseen."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    weigh(story, 4, 1, 501.5)
    weigh(story, 6, 4, 502.5)
    story.wait(9)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_torn(story: Story) -> None:
    """A record caught half written is left alone."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    story.at(4, seq=1, serial="S0001", weight=501.5)
    story.at(4.2, verdict=1, seq_end=1)
    story.wait(7)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_after_plc_restart(story: Story) -> None:
    """The PLC restarts and its numbers begin at 1 again: another generation, no repetition."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    weigh(story, 4, 1, 501.5)
    story.at(5, ack=1)
    story.cut(6)
    story.boot(10, 8)
    weigh(story, 10, 1, 499.0)
    story.join(15)
    story.wait(20)


@trace(unit=RECORD, plc1=RECORD_TAGS)
def record_over_agent_restart(story: Story) -> None:
    """The agent is killed between a record and its acknowledgement."""
    story.boot(0, 7)
    story.at(0, seq=0, serial="", weight=0.0, verdict=0, seq_end=0, ack=0)
    weigh(story, 4, 1, 501.5)
    story.kill(4, 20)
    story.at(22, ack=1)
    weigh(story, 24, 2, 502.5)
    story.wait(28)


METER = {"energy": {"el": {"tag": "meter.kwh", "meter": "main", "wraps": "digits:8", "max_rate": "5/s", "every": "60s"}}}
KWH = {"kwh": {"type": "uint32", "scale": 0.01, "uom": "KWH"}}


@trace(unit=METER, meter=KWH, unstamped=["meter"])
def energy_by_the_minute(story: Story) -> None:
    """Intervals close with the first sample at or after each minute."""
    story.each(0, 185, 5, lambda k: {"meter.kwh": 100 + k / 100})
    story.wait(190)


@trace(unit=METER, meter=KWH, unstamped=["meter"])
def energy_meter_wraps(story: Story) -> None:
    """99,999,999 to 3: four units of ten watt-hours."""
    story.at(0, {"meter.kwh": 999999.99})
    story.at(60, {"meter.kwh": 0.03})
    story.at(125, {"meter.kwh": 0.1})
    story.wait(130)


@trace(unit=METER, meter=KWH, unstamped=["meter"])
def energy_over_a_loss(story: Story) -> None:
    """Nothing is closed while the meter is away; the first sample after it closes one longer interval."""
    story.each(0, 50, 10, lambda k: {"meter.kwh": 100 + k / 10})
    story.cut(55, "meter")
    story.at(200, {"meter.kwh": 103.0})
    story.join(200, "meter")
    story.at(245, {"meter.kwh": 103.5})
    story.wait(250)


@trace(
    unit={**METER, "context": {"order": "plc1.order"}},
    meter=KWH,
    plc1={"order": "string"},
    unstamped=["meter"],
)
def energy_per_order(story: Story) -> None:
    """An order's change closes the interval."""
    story.at(0, {"plc1.order": "WO-1", "meter.kwh": 100.0})
    story.each(10, 80, 10, lambda k: {"meter.kwh": 100.1 + k / 10})
    story.at(85, {"plc1.order": "WO-2"})
    story.each(90, 130, 10, lambda k: {"meter.kwh": 101 + k / 10})
    story.wait(135)
