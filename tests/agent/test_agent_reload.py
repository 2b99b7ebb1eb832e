"""Live reload of a whole agent over real Modbus connections: what is unchanged goes on, what is changed is counted once, what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import time
from pathlib import Path

import pytest
from agent_bench import others
from counting_device import longest
from reload_plant import POLL, Plant, happens, running

from edge_agent.agent.unit import Unit
from edge_agent.drivers.modbus.driver import connect  # noqa: F401 - loaded before the first poll is timed
from edge_agent.status.client import RemoteDesk


def contiguous(plant: Plant, stream: str) -> bool:
    """Whether a stream has every number from 1 on."""
    numbers = [seq for seq, _, _ in plant.told(stream)]
    return numbers == list(range(1, len(numbers) + 1))


async def test_one_changed_device_restarts_alone(tmp_path, monkeypatch):
    """The other connections stay and miss no poll, streams keep their numbers, and every part that was made is counted once across the restart."""
    async with running(tmp_path, monkeypatch) as plant:
        epochs = {record.key.epoch for record in plant.sinks[0].seen}
        before = time.monotonic()
        plant.write("devices/plc2", plant.device(2, poll="200ms"))
        report = await plant.reload()
        assert (report.outcome, report.changes) == ("reloaded", ["device plc2 changed", "unit m2 changed"])
        await asyncio.sleep(6 * POLL)
        assert [device.links for device in plant.devices] == [1, 2, 1]
        assert max(longest(plant.devices[number].polls, before - POLL, POLL) for number in (0, 2)) < 1.5
    assert all(contiguous(plant, stream) for stream in ("m1", "m2", "m3", "_agent/gw1"))
    assert {record.key.epoch for sink in plant.sinks for record in sink.seen} == epochs
    assert len(plant.sinks) == 1
    assert all(plant.counted(unit) == plant.shown(unit) > 0 for unit in ("m1", "m2", "m3"))
    assert "device.disconnected" not in plant.kinds("m1")
    (gone,) = [data for _, kind, data in plant.told("_agent/gw1") if kind == "device.disconnected"]
    assert (gone["device"], gone["reason"]) == ("plc2", "config")
    (changed,) = [data for _, kind, data in plant.told("_agent/gw1") if kind == "config.changed"]
    assert (changed["cfg_new"], changed["cfg"]) == (report.cfg, report.cfg)
    assert changed["cfg_old"] != report.cfg
    assert "config.changed" in plant.kinds("m2")
    assert not {"config.changed", "collection.gap"} & {*plant.kinds("m1"), *plant.kinds("m3")}
    assert not others()


async def test_a_changed_unit_keeps_the_connection_of_its_device(tmp_path, monkeypatch):
    """No device is connected to anew; what was counted stays counted, and a new counter begins from what the device has shown."""
    async with running(tmp_path, monkeypatch) as plant:
        before = time.monotonic()
        unit = plant.unit(1)
        unit["counters"]["more"] = unit["counters"]["total"] | {"tag": "plc1.again", "role": "good"}
        plant.write("units/m1", unit)
        report = await plant.reload()
        assert report.changes == ["unit m1 changed"]
        await happens(
            lambda: any(data.get("counter") == "more" for _, kind, data in plant.told("m1") if kind == "production.count")
        )
        assert [device.links for device in plant.devices] == [1, 1, 1]
        assert longest(plant.devices[0].polls, before - POLL, POLL) < 1.5
    events = plant.told("m1")
    assert contiguous(plant, "m1")
    kinds = [kind for _, kind, _ in events]
    final = next(data for _, kind, data in events if kind == "state.snapshot" and data["reason"] == "final")
    assert kinds.index("config.changed") == events.index(next(each for each in events if each[2] == final)) + 1
    assert plant.counted("m1") == plant.shown("m1") > final["totals"]["total"]


async def test_what_is_new_begins_and_what_is_removed_ends(tmp_path, monkeypatch):
    """A removed unit says its last word and leaves no retained state, a removed device is told as such, new ones start; nobody else notices."""
    async with running(tmp_path, monkeypatch) as plant:
        for name in ("devices/plc3", "units/m3"):
            plant.remove(name)
        plant.write("units/m4", plant.unit(1, unit="m4"))
        report = await plant.reload()
        assert report.changes == ["device plc3 removed", "unit m4 new", "unit m3 removed"]
        await happens(lambda: plant.counted("m4") and "config.changed" in plant.kinds("m3"))
        await happens(
            lambda: plant.retained["edge/v1/acme/line/m3/_meta"] == b"" and plant.retained.get("edge/v1/acme/line/m4/_meta")
        )
        assert [device.links for device in plant.devices] == [1, 1, 1]
        await happens(lambda: plant.devices[2].open == 0)
        await happens(lambda: "plc3" not in json.loads(plant.retained["edge/v1/acme/_agent/gw1/status"])["devices"])
    assert plant.kinds("m3")[-2:] == ["state.snapshot", "config.changed"]
    assert all(contiguous(plant, stream) for stream in ("m1", "m3", "m4", "_agent/gw1"))
    assert plant.kinds("m4")[0] != "collection.gap"
    assert not others()


async def test_a_new_unit_knows_what_does_not_change(tmp_path, monkeypatch):
    """A register that stands is never told again on a connection that stays: the new unit has it from what the device showed before."""
    async with running(tmp_path, monkeypatch) as plant:
        plant.write(
            "units/m5", {"version": 1, "unit": "m5", "path": ["acme", "line"], "state": {"tag": "plc1.mode", "model": "packml"}}
        )
        assert (await plant.reload()).changes == ["unit m5 new"]
        await happens(lambda: any(data["state"] for _, kind, data in plant.told("m5") if kind == "state.snapshot"))
        unit = {
            "version": 1,
            "unit": "m5",
            "path": ["acme", "line"],
            "state": {"tag": "plc1.mode", "model": "packml"},
            "stale_after": "9s",
        }
        plant.write("units/m5", unit)
        assert (await plant.reload()).changes == ["unit m5 changed"]
        await happens(lambda: len(_states(plant)) >= 3)
        assert [device.links for device in plant.devices] == [1, 1, 1]
    assert {state["code"] for state in _states(plant)} == {7}
    assert "collection.gap" in plant.kinds("m5")


def _states(plant: Plant) -> list[dict[str, object]]:
    return [data["state"] for _, kind, data in plant.told("m5") if kind == "state.snapshot" and data["state"]]


async def test_a_device_that_cannot_do_what_is_asked_of_it_ends_nobody_else(tmp_path, monkeypatch):
    """What shows only at the connect keeps one device away, with the reason in its state; the next reload mends it."""
    async with running(tmp_path, monkeypatch) as plant:
        device = plant.device(1)
        device["tags"]["far"] = {"register": "holding", "address": 60_000, "type": "uint16"}
        record = {
            "pattern": "seq",
            "event": "quality.result",
            "seq": "plc1.mode",
            "fields": {"value": "plc1.far"},
            "characteristic": "x",
        }
        plant.write("devices/plc1", device)
        plant.write("units/m1", plant.unit(1, records={"r": record}))
        assert (await plant.reload()).outcome == "reloaded"
        status = "edge/v1/acme/_agent/gw1/status"
        await happens(lambda: "one request" in str(json.loads(plant.retained[status])["devices"]["plc1"]["error"]))
        counted = plant.counted("m2")
        await happens(lambda: plant.counted("m2") > counted)
        plant.write("devices/plc1", plant.device(1))
        plant.write("units/m1", plant.unit(1))
        assert (await plant.reload()).outcome == "reloaded"
        counted = plant.counted("m1")
        await happens(lambda: plant.counted("m1") > counted)
    assert plant.counted("m1") == plant.shown("m1")


async def test_further_outputs_begin_anew(tmp_path, monkeypatch):
    """An output mirrors the units there are; its link stands once in the status, however often it begins."""
    output = {"profile": "sparkplug", "broker": "mqtt://127.0.0.1:1", "allow_insecure": True}
    async with running(tmp_path, monkeypatch, outputs={"scada": output}) as plant:
        desk = RemoteDesk(tmp_path / "buffer" / "gw1.sock")
        for wait in ("3s", "4s"):
            plant.write("units/m1", plant.unit(1, stale_after=wait))
            plant.write("devices/plc2", plant.device(2, timeout=wait))
            assert (await plant.reload()).outcome == "reloaded"
            status = await asyncio.to_thread(asyncio.run, desk.status())
            assert sorted(link.kind for link in status.links) == ["device", "device", "device", "mqtt", "sparkplug scada"]
    assert not others()


async def test_systemd_is_told_that_a_reload_begins_and_is_over(tmp_path, monkeypatch):
    """RELOADING=1 with the monotonic time in us, then READY=1: what Type=notify-reload waits for (sd_notify(3)), also where nothing was taken over."""
    async with running(tmp_path, monkeypatch) as plant:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(5)
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            plant.write("devices/plc2", "version: 1")
            before = time.monotonic_ns() // 1000
            plant.agent.reload()
            begins, over = [(await asyncio.to_thread(systemd.recv, 4096)).decode().splitlines() for _ in range(2)]
            monkeypatch.delenv("NOTIFY_SOCKET")
    assert begins[0] == "RELOADING=1"
    assert before <= int(begins[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert over == ["READY=1", "STATUS=running the configuration of before"]


async def test_wrong_files_leave_everything_as_it_is(tmp_path, monkeypatch):
    """Why is in the answer with file and line, and in the agent's stream once; the right files end it, and say that nothing is different."""
    async with running(tmp_path, monkeypatch) as plant:
        plant.write("devices/plc2", json.dumps(plant.device(2), indent=1).replace('"poll"', '"pol"'))
        for _ in range(2):
            report = await plant.reload()
            assert report.outcome == "rejected"
            assert "devices/plc2.yaml:8:" in report.text
        plant.write("agent", plant.settings(site=["other"]))
        plant.write("devices/plc2", plant.device(2))
        refused = await plant.reload()
        assert (refused.outcome, refused.text.partition(" cannot")[0]) == ("refused", "site")
        assert "restart the service" in refused.remedy
        plant.write("agent", plant.settings())
        assert (await plant.reload()).outcome == "unchanged"
        await happens(lambda: plant.kinds("_agent/gw1").count("agent.fault") == 4)
    faults = [(data["code"], data["action"]) for _, kind, data in plant.told("_agent/gw1") if kind == "agent.fault"]
    codes = ("config_rejected", "config_needs_restart")
    assert faults == [(code, action) for code in codes for action in ("raised", "cleared")]
    assert [device.links for device in plant.devices] == [1, 1, 1]
    assert "config.changed" not in plant.kinds("_agent/gw1")


async def test_settings_of_the_broker_renew_its_connection_alone(tmp_path, monkeypatch):
    """Devices stay connected, the old connection says goodbye, and the streams go on without a hole."""
    async with running(tmp_path, monkeypatch) as plant:
        mqtt = plant.settings()["mqtt"] | {"window": 10}
        plant.write("agent", plant.settings(mqtt=mqtt))
        report = await plant.reload()
        assert report.changes == ["connection to the broker made anew"]
        assert len(plant.sinks) == 2
        counted = plant.counted("m1")
        await happens(lambda: plant.counted("m1") > counted)
        assert [device.links for device in plant.devices] == [1, 1, 1]
    assert contiguous(plant, "m1")


async def test_twenty_reloads_leave_nothing_behind(tmp_path, monkeypatch):
    """No task, socket or unit is left of what was exchanged."""
    async with running(tmp_path, monkeypatch) as plant:

        async def round_(number: int) -> tuple[int, int, int]:
            plant.write("devices/plc2", plant.device(2, poll=f"{200 + number}ms"))
            plant.write("units/m4", plant.unit(3, unit="m4")) if number % 2 else plant.remove("units/m4")
            assert (await plant.reload()).outcome == "reloaded"
            await happens(lambda: plant.devices[1].open == 1)
            gc.collect()
            units = sum(isinstance(each, Unit) for each in gc.get_objects())
            return len({task.get_name() for task in others() if not task.get_name().startswith("Task-")}), units, _sockets()

        await round_(1)
        first = await round_(2)
        for number in range(3, 23):
            last = await round_(number)
        assert last == first
        assert plant.devices[1].links == 23
        assert [plant.devices[number].links for number in (0, 2)] == [1, 1]
    assert all(contiguous(plant, stream) for stream in ("m1", "m2", "m3", "m4", "_agent/gw1"))
    assert all(plant.counted(unit) == plant.shown(unit) > 0 for unit in ("m1", "m2", "m3"))
    assert not others()


def _sockets() -> int:
    return sum(os.readlink(each).startswith("socket:") for each in Path("/proc/self/fd").iterdir() if each.is_symlink())  # noqa: PTH115 - it points nowhere


async def test_a_stop_waits_for_the_reload_that_is_under_way(tmp_path, monkeypatch):
    """What was asked for before the stop is done or answered, and the agent ends in order."""
    async with running(tmp_path, monkeypatch) as plant:
        plant.write("devices/plc2", plant.device(2, poll="200ms"))
        asking = asyncio.create_task(plant.reload())
        await asyncio.sleep(0.01)
    assert (await asking).outcome in {"reloaded", "later"}
    assert plant.kinds("_agent/gw1")[-1] == "agent.stopped"
    assert not others()


pytestmark = pytest.mark.timeout(120)
