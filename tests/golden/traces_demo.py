"""Pieces of the demo line, with its own configuration: config/ as it is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from golden_story import Story, trace
from ruamel.yaml import YAML

from edge_agent.model.instant import NS
from edge_agent.model.reading import ClockOffset

CONFIG = Path(__file__).parents[2] / "config"
_MEMBERS = ("type", "scale", "uom", "acknowledge")


def _yaml(path: str) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(CONFIG / path))


def _tags(device: str) -> dict[str, Any]:
    found = _yaml(f"devices/{device}.yaml")["tags"].items()
    return {name: {key: tag[key] for key in _MEMBERS if key in tag} for name, tag in found}


FILLER = {
    "unit": {key: value for key, value in _yaml("units/filler.yaml").items() if key != "version"},
    "shifts": _yaml("agent.yaml")["shifts"],
    "time_zone": "Europe/Berlin",
    "start": "2026-10-25T04:50:00Z",
    "unstamped": ["heater", "meter-main"],
    **{device: _tags(device) for device in ("plc1", "heater", "meter-main")},
}
ALARMS = {
    f"alarm{k}_{name}": empty for k in range(4) for name, empty in (("id", 0), ("value", 0), ("message", ""), ("trigger", False))
}


def begin(story: Story, **more: Any) -> None:
    """Have the line run order WO-1001."""
    running = {"state": 6, "mode": 1, "starved": False, "blocked": False, "stop_id": 0, "acc_time": 500, "speed": 120.0}
    record = {"rec_seq": 0, "rec_serial": "", "rec_weight": 0.0, "rec_verdict": 0, "rec_seq_end": 0, "rec_ack": 0}
    context = {"order": "WO-1001", "product": "4711", "lot": "L-A"}
    counts = {"acc_count": 2147483600, "reject": 65533, "boot_count": 7}
    story.boot(0, 7)
    story.at(0, {**running, **record, **context, **counts, **ALARMS, **more})
    story.at(0.2, {"heater.pv": 180.0, "heater.high": False, "heater.low": False})
    story.at(0.4, {"meter-main.import_energy": 999999.95, "meter-main.power": 12000.0})


@trace(**FILLER)
def demo_fault_with_alarm(story: Story) -> None:
    """Capper torque: the alarm, the abort, the reason a second later, and running again."""
    begin(story)
    story.each(1, 5, 0.5, lambda k: {"acc_count": 2147483600 + k})
    story.at(6, alarm0_id=2101, alarm0_value=3, alarm0_message="Capper torque fault", alarm0_trigger=True)
    story.at(6.1, state=8)
    story.at(7.1, stop_id=2101)
    story.at(8, state=9)
    story.at(20, state=1)
    story.at(21, state=2, alarm0_trigger=False, alarm0_id=0, alarm0_value=0, alarm0_message="")
    story.at(22, state=15)
    story.at(23, state=4)
    story.at(24, state=3)
    story.at(26, state=6, stop_id=0)
    story.at(27, acc_count=2147483610)
    story.wait(30)


@trace(**FILLER)
def demo_wraps_in_link_loss(story: Story) -> None:
    """Both counters wrap while the link is down for half a minute."""
    begin(story)
    story.at(10, acc_count=2147483620, reject=65534)
    story.cut(12)
    story.at(30, acc_count=20, reject=1)
    story.at(40, {"meter-main.import_energy": 0.05})
    story.join(42)
    story.at(43, acc_count=22)
    story.wait(50)


@trace(**{**FILLER, "start": "2026-10-25T04:59:20Z"})
def demo_order_change_and_shift(story: Story) -> None:
    """An order ends, another begins in the same scan, and the shift changes twenty seconds later."""
    begin(story)
    story.at(10, acc_count=2147483628, acc_time=510)
    story.at(20, order="WO-1002", product="4712", lot="L-B", acc_count=5, acc_time=520)
    story.at(30, acc_count=20)
    story.at(40.5, {"acc_count": 35, "meter-main.import_energy": 1.15})
    story.at(45, acc_count=40)
    story.wait(50)


@trace(**FILLER)
def demo_plc_restart_zeroes(story: Story) -> None:
    """The PLC restarts: counters at zero, the record's numbers begin anew, the state goes through Unknown."""
    begin(story)
    story.at(5, rec_seq=1, rec_serial="CW-00001", rec_weight=501.5, rec_verdict=1, rec_seq_end=1)
    story.at(5.2, rec_ack=1)
    story.cut(10)
    story.boot(25, 8)
    story.at(25, acc_count=3, reject=0, acc_time=4, boot_count=8, state=2)
    story.at(26, rec_seq=1, rec_serial="CW-00002", rec_weight=499.5, rec_verdict=2, rec_seq_end=1, rec_ack=0)
    story.join(30)
    story.at(32, state=6)
    story.wait(40)


@trace(**FILLER)
def demo_agent_killed_in_a_stop(story: Story) -> None:
    """The agent is killed while the line starves, and comes back when it runs again, with parts made meanwhile."""
    begin(story)
    story.at(4, acc_count=2147483606)
    story.at(5, state=5, starved=True)
    story.gone(8)
    story.at(20, state=6, starved=False)
    story.at(28, acc_count=2147483620)
    story.back(28)
    story.at(30, acc_count=2147483623)
    story.note(31, ClockOffset("plc1", story.ns(31), NS // 5))
    story.wait(35)


@trace(**FILLER)
def demo_maintenance(story: Story) -> None:
    """Five parts in maintenance belong to no order; a hot heater is an alarm of another device."""
    begin(story)
    story.at(5, state=2)
    story.at(8, mode=2)
    story.at(10, state=6)
    story.at(12, acc_count=2147483605)
    story.at(14, {"heater.high": True, "heater.pv": 195.5})
    story.at(16, state=2)
    story.at(20, mode=1)
    story.at(22, {"heater.high": False})
    story.at(25, state=6)
    story.at(27, acc_count=2147483607)
    story.wait(30)
