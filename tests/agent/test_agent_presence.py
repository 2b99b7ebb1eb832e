"""What an agent says of itself to everybody, gathered from its parts."""

from __future__ import annotations

import pytest
from agent_bench import ManualClock, unit_of

from edge_agent.agent.collect import DeviceState
from edge_agent.agent.discipline import Discipline, Kernel
from edge_agent.agent.presence import Presence
from edge_agent.agent.vitals import Disk, Vitals
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.model.reading import Batch, ClockOffset, DeviceFault, DeviceUp


@pytest.fixture
def presence(tmp_path) -> Presence:
    """A presence with a look at everything."""
    buffer, clock = MemoryBuffer(), ManualClock()
    made = Presence("gw1", "session", buffer, clock, [unit_of(buffer, clock)])
    made.cfg = "abc"
    made.vitals = Vitals(tmp_path, {})
    made.trust = Discipline(lambda: Kernel(synced=True, offset_ms=0.25, error_ms=3.0))
    return made


def seen(*notices: object) -> DeviceState:
    """Return a device that has told ``notices`` and one good sample."""
    state, now = DeviceState(), ManualClock().now()
    state.seen(Batch("plc1", now, [0], [1], [0], [0], [0], before=notices))  # type: ignore[arg-type]
    state.ready = True
    return state


async def test_everything_a_monitor_needs_is_there(presence):
    """Version, configuration, disk, clock, certificates; per device its codes, offset and bad tags."""
    now = ManualClock().now()
    presence.vitals.disk, presence.vitals.ends = Disk(5, 9), {"mqtt": 0.0}
    await presence.look()
    state = seen(DeviceUp("plc1", now), ClockOffset("plc1", now, 2_000_000), DeviceFault("plc1", now, "slow", False, "slow"))
    told = presence.status("online", {"plc1": state})
    assert (told.health, told.cfg, told.ready) == ("ok", "abc", True)
    assert (told.buffer.disk_free, told.buffer.disk_size, told.buffer.waiting) == (5, 9, 0)
    assert (told.clock.state, told.clock.offset_ms) == ("synced", 0.25)
    assert told.certificates["mqtt"] < -20_000
    device = told.devices["plc1"]
    assert (device.up, device.fault, device.faults, device.clock_offset_ms) == (True, None, ["slow"], 2.0)
    assert [(fault.code, fault.about) for fault in told.faults] == [("slow", "device plc1")]


async def test_a_silent_device_has_a_code_and_degrades_the_health(presence):
    """Where no code of its own is known, it is `device_down`; the codes of tags come along."""
    presence.raised = lambda: [("tag_lost", "plc1.speed", "gone")]
    told = presence.status("online", {"plc1": DeviceState()})
    assert (told.health, told.devices["plc1"].fault, told.buffer) == ("degraded", "device_down", None)
    assert [fault.code for fault in told.faults] == ["device_down", "tag_lost"]
    stands = DeviceState()
    stands.fault = "cert_changed"
    assert presence.status("online", {"plc1": stands}).devices["plc1"].fault == "cert_changed"


async def test_the_will_says_which_program_and_configuration_died(presence):
    """A fleet is listed by what is retained, also where a gateway is off."""
    will = presence.will()
    assert (will.status, will.cfg, will.session) == ("offline", "abc", "session")
    assert will.version
