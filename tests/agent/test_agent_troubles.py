"""What is wrong with a running agent has a code and a remedy."""

from __future__ import annotations

import pytest

from edge_agent.agent.collect import DeviceState
from edge_agent.agent.faults import TagFaults
from edge_agent.agent.troubles import of_agent, of_devices
from edge_agent.model.fault import faults
from edge_agent.model.reading import Batch, DeviceFault, DeviceUp, TagStatus
from edge_agent.status.report import BufferReport, LinkReport

FINE = BufferReport("b", "e", True, "", 0, 0, None, 1, 0, [])


def state(*notices: object, ready: bool = True, fault: str = "") -> DeviceState:
    """A device that has said these things."""
    made = DeviceState()
    made.seen(Batch("plc1", 1, before=tuple(notices)))  # type: ignore[arg-type]
    made.ready, made.fault = ready, fault
    return made


@pytest.mark.parametrize(
    ("device", "codes"),
    [
        (state(DeviceUp("plc1", 1)), []),
        (state(), ["device_down"]),
        (state(ready=False, fault="cert_changed"), ["cert_changed"]),
        (state(DeviceUp("plc1", 1), DeviceFault("plc1", 1, "slow", False, "needs 900 ms")), ["slow"]),
        (state(DeviceUp("plc1", 1), DeviceFault("plc1", 1, "slow", False, "x"), DeviceFault("plc1", 2, "slow", True)), []),
    ],
)
def test_a_device_is_told_by_its_code(device, codes):
    """A device that is away, stands still for a person, or works with a fault, each under its own code."""
    found = list(of_devices({"plc1": device}, []))
    assert [(each.code, each.about) for each in found] == [(code, "device plc1") for code in codes]
    assert all(each.remedy == faults()[each.code].remedy for each in found)


def test_a_lost_tag_is_told_until_it_is_found():
    """A tag's fault names the tag, and is over with it."""
    tags = TagFaults()
    tags.event(TagStatus("plc1", 1, "speed", False, "BadNodeIdUnknown"))
    assert [(each.code, each.about, each.text) for each in of_devices({}, tags.raised())] == [
        ("tag_lost", "plc1.speed", "BadNodeIdUnknown")
    ]
    tags.event(TagStatus("plc1", 2, "speed", True))
    assert tags.raised() == []


def test_store_units_and_broker_are_told_by_their_codes():
    """What costs data is critical, what may is a warning."""
    links = [LinkReport("mqtt://b", "mqtt", False, "refused", 3), LinkReport("plc1", "device", False, "x", 1)]
    sick = BufferReport("b", "e", False, "disk full", 0, 0, None, 1, 0, [], full=True, dropped=3)
    found = list(of_agent({"filler": "quarantined: x", "capper": "ok"}, links, sick, ["silent for 40 s"]))
    assert [(each.code, each.level) for each in found] == [
        ("store_trouble", "critical"),
        ("buffer_full", "critical"),
        ("unit_quarantined", "critical"),
        ("broker_down", "warning"),
        ("broker_silent", "warning"),
    ]
    assert list(of_agent({"filler": "ok"}, [], FINE, [])) == []
