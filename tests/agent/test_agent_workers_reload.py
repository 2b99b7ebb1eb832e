"""Live reload where workers read the devices: a changed device restarts in a worker, and nobody else notices."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from agent_bench import others
from counting_device import longest
from reload_plant import POLL, Plant, happens, running

from edge_agent.ports import PollCounts


def polls(plant: Plant) -> dict[str, PollCounts | None]:
    """Return what is known of the polls of each device."""
    assert plant.agent._reloader is not None
    collectors = plant.agent._reloader._running.parts.collectors
    return {name: state.tally.polls for collector in collectors for name, state in collector.devices.items()}


def processes(plant: Plant) -> dict[str, int]:
    """Return the processes of the workers, by name."""
    assert plant.agent._reloader is not None
    workers = plant.agent._reloader._running.parts.places.workers
    return {worker.name: worker.process.pid for worker in workers if worker.process is not None}


def alive(process: int) -> bool:
    """Return whether there is such a process."""
    return Path(f"/proc/{process}").exists()


async def test_workers_restart_a_changed_device_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part is counted once, the other connections stay, the processes too, and the polls of all are counted."""
    async with running(tmp_path, monkeypatch, workers=2) as plant:
        before, at_first = time.monotonic(), processes(plant)
        plant.write("devices/plc2", plant.device(2, poll="200ms"))
        report = await plant.reload()
        assert (report.outcome, report.changes) == ("reloaded", ["device plc2 changed", "unit m2 changed"])
        await happens(lambda: plant.devices[1].links == 2)
        await asyncio.sleep(4 * POLL)
        assert [device.links for device in plant.devices] == [1, 2, 1]
        assert max(longest(plant.devices[number].polls, before - POLL, POLL) for number in (0, 2)) < 1.5
        assert processes(plant) == at_first
        assert len(at_first) == 2
        await happens(lambda: all(counts is not None and counts.polls > 3 for counts in polls(plant).values()))
    known = polls(plant)
    assert all(plant.counted(unit) == plant.shown(unit) > 0 for unit in ("m1", "m2", "m3"))
    for number in (0, 2):
        counts = known[f"plc{number + 1}"]
        assert counts is not None
        asked = len(plant.devices[number].polls) / 2  # two blocks of registers each
        assert asked - 1 <= counts.polls <= asked
    assert not others()


async def test_workers_come_and_go_with_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose devices are removed ends; one is started for what comes back; how many there may be needs a restart."""
    async with running(tmp_path, monkeypatch, workers=3) as plant:
        at_first = processes(plant)
        for name in ("devices/plc3", "units/m3"):
            plant.remove(name)
        assert (await plant.reload()).outcome == "reloaded"
        fewer = processes(plant)
        assert len(fewer) == 2
        assert fewer.items() < at_first.items()
        (gone,) = set(at_first.values()) - set(fewer.values())
        assert not alive(gone)
        plant.write("devices/plc3", plant.device(3))
        plant.write("units/m3", plant.unit(3))
        assert (await plant.reload()).outcome == "reloaded"
        await happens(lambda: plant.devices[2].links == 2)
        assert fewer.items() < processes(plant).items()
        plant.write("agent", plant.settings(workers=1))
        report = await plant.reload()
        assert report.outcome == "refused"
        assert "workers" in report.text
        assert [device.links for device in plant.devices] == [1, 1, 2]
    assert not others()
