"""The retained status of an agent: it follows its schema, has a bounded size, and is told again only for what is worth it."""

from __future__ import annotations

import json

import jsonschema
import msgspec
import pytest

from edge_agent.status.presence import (
    LARGEST,
    AgentStatus,
    BufferStatus,
    ClockStatus,
    DeviceStatus,
    FaultStatus,
    LastWill,
    lasting,
    packed,
    schema,
    shortened,
)

NOW = "2026-10-25T04:00:00.000000Z"
BUFFER = BufferStatus(7, NOW, 3.5, 4096, 0, 10_000, 20_000)
WELL = DeviceStatus(True, True, last_good=NOW)


def status(devices: dict[str, DeviceStatus], faults: tuple[FaultStatus, ...] = ()) -> AgentStatus:
    """Return a status with everything in it."""
    return AgentStatus(
        status="online", agent="gw1", session="s", version="0.1.0", cfg="abc", time=NOW, epoch="E" * 26, health="ok", store="ok",
        ready=True, devices=devices, units={"filler": "ok"}, faults=faults, buffer=BUFFER, clock=ClockStatus("synced", 0.1, 2.0),
        certificates={"mqtt": 30},
    )  # fmt: skip


def broken(number: int) -> DeviceStatus:
    """Return a device in trouble that has much to say, some of it in letters that take four bytes."""
    return DeviceStatus(False, False, error=shortened(f"{number} " + '😱\n"' * 2000), fault="device_down")


@pytest.mark.parametrize(
    "document",
    [
        packed(status({"plc1": WELL, "plc2": broken(2)}, (FaultStatus("device_down", "device plc2", "warning"),))),
        msgspec.json.encode(LastWill("offline", "gw1", "s", "0.1.0", "abc", NOW)),
    ],
)
def test_what_is_published_follows_the_schema(document):
    """The schema that consumers get is the one of what they get."""
    jsonschema.Draft202012Validator(schema()).validate(json.loads(document))


def test_the_schema_refuses_what_is_no_status():
    """A schema that takes everything would prove nothing."""
    told = json.loads(packed(status({})))
    for wrong in ({**told, "health": "fine"}, {**told, "devices": {"a": {"up": 1}}}, {"status": "offline"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema()).validate(wrong)


@pytest.mark.parametrize("count", [1, 30, 100, 3000])
def test_the_size_is_bounded_and_trouble_comes_first(count):
    """However many devices there are and whatever they say; every device that is in trouble is there up to a hundred, and codes stay."""
    devices = {f"line-{number:04}": broken(number) if number % 40 == 0 else WELL for number in range(count)}
    faults = tuple(FaultStatus("device_down", f"device {name}", "warning") for name in devices)
    faults += (FaultStatus("buffer_full", "buffer", "critical"),)
    document = packed(status(devices, faults))
    assert len(document) <= LARGEST
    told = json.loads(document)
    assert told["faults"][0]["code"] == "buffer_full"
    assert len(told["faults"]) <= 50
    assert len(told["devices"]) + told["left_out"] == count
    troubled = {name for name, device in devices.items() if not device.up}
    assert {name for name, device in told["devices"].items() if device["fault"] == "device_down"} == troubled


def test_a_status_that_fits_is_told_as_it_is():
    """Nothing is left out without need, and what an error says is shortened with a mark."""
    told = json.loads(packed(status({"plc1": broken(1), "plc2": WELL})))
    assert told["devices"]["plc1"]["error"].startswith("1 😱")
    assert told["devices"]["plc1"]["error"].endswith("…")
    assert len(told["devices"]["plc1"]["error"]) == 200
    assert shortened("short") == "short"


def test_only_what_is_worth_it_is_told_at_once():
    """Ages, times and offsets move by themselves; a fault, a device or the first bad tag is news."""
    before = status({"plc1": WELL})
    replace = msgspec.structs.replace
    later = replace(
        before, time="2026-10-25T04:00:01.000000Z", buffer=replace(BUFFER, oldest_age_s=9.0), clock=ClockStatus("synced", 4.0)
    )
    moved = replace(later, devices={"plc1": replace(WELL, last_good="2026-10-25T04:00:01.000000Z", clock_offset_ms=3.0)})
    assert lasting(moved) == lasting(before)
    for news in (
        replace(before, health="degraded"),
        replace(before, faults=(FaultStatus("tag_lost", "plc1.speed", "warning"),)),
        replace(before, clock=ClockStatus("holdover")),
        replace(before, certificates={"mqtt": 29}),
        replace(before, devices={"plc1": replace(WELL, tags_bad=1)}),
    ):
        assert lasting(news) != lasting(before)
