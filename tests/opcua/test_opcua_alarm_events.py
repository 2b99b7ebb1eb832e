"""From an alarm server to the broker: a whole agent with a real session and a real store, whose receiver keeps what it is handed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "agent"))

from agent_bench import FakeSink, body, short
from opcua_alarms import Conditions
from opcua_plant import URI, Plc, Proxy, free_port

from edge_agent.agent.clock import WallClock
from edge_agent.agent.supervise import Agent
from edge_agent.cli.check import check
from edge_agent.config.load import InvalidConfigError, load
from edge_agent.model.instant import parse


def configuration(port: int, **unit: Any) -> dict[str, Any]:
    """Return an agent with one server and one unit that tells its alarms."""
    device = {
        "version": 1, "device": "plc", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "allow_insecure": True,
        "namespace": URI, "sampling": "20ms", "publishing": "20ms", "alarms": {"severity_min": 100},
        "tags": {"speed": {"node": "s=Speed"}},
    }  # fmt: skip
    alarms = {"device": {"conditions": "plc.alarms", "class": "mechanical"}}
    return {
        "version": 1, "agent": "gw1", "site": ["acme", "plant1"], "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
        "devices": [device], "units": [{"version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"], "alarms": alarms} | unit],
    }  # fmt: skip


class Plant:
    """An alarm server behind a line that can be cut, and what the receiver got."""

    def __init__(self, plc: Plc, conditions: Conditions, proxy: Proxy, folder: Path) -> None:
        self.plc, self.conditions, self.proxy, self.folder = plc, conditions, proxy, folder
        self.sink = FakeSink(window=20, by_itself=True)

    @property
    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """The unit's alarms: type and content, in order."""
        entries = [record.entry for record in self.sink.seen if short(record.entry).startswith("alarm.")]
        return [(short(entry).removeprefix("alarm."), body(entry)) for entry in entries]

    async def until(self, true: Callable[[], object]) -> None:
        """Return when it is so; TimeoutError after 10 s."""
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - the receiver has no event for it
                await asyncio.sleep(0.005)

    async def refreshed(self, times: int) -> None:
        """Return when the server was asked that often and its answer is delivered."""
        await self.until(lambda: self.conditions.refreshes >= times)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """Run an agent, and stop it in order."""
        file = self.folder / "agent.yaml"
        store = {"buffer": {"path": str(self.folder / "buffer"), "min_free": 0, "commit_interval": "1ms"}}
        file.write_text(json.dumps(configuration(self.proxy.port) | store))
        stop = asyncio.Event()
        task = asyncio.create_task(Agent(load(file), WallClock()).run(stop))
        try:
            yield
            stop.set()
            await asyncio.wait_for(task, 30)
        finally:
            task.cancel()
            await asyncio.wait([task])

    def cut(self) -> None:
        """Cut the line; the next connection gets through."""
        for writer in self.proxy._writers:
            writer.close()


@pytest.fixture
async def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plant]:
    """A server with an alarm system, and a receiver instead of a broker."""
    plc = Plc(free_port())
    await plc.start()
    try:
        await plc.add("Speed", 1)
        conditions = Conditions(plc)
        await conditions.start()
        async with Proxy(plc.port).running() as proxy:
            plant = Plant(plc, conditions, proxy, tmp_path)
            monkeypatch.setattr("edge_agent.publish.mqtt.connect", lambda *_, **__: contextlib.nullcontext(plant.sink))
            yield plant
    finally:
        await plc.stop()


def known(plant: Plant, name: str) -> str:
    """Return the id of an alarm: the condition's node, with the URI of its namespace."""
    return f"nsu={URI};s=Alarms.{name}"


async def test_alarms_arrive_with_the_devices_own_words_and_times(plant: Plant) -> None:
    """An alarm that rises, is acknowledged and falls is three events of one instance, at the server's times; what stood there before is none."""
    await plant.conditions.say("Old")
    async with plant.agent():
        await plant.refreshed(1)
        rose = (await plant.conditions.say("High", severity=800, message="torque too high")).Time
        await plant.conditions.say("High", acked=True)
        await plant.conditions.say("High", active=False, acked=True)
        await plant.conditions.say("Quiet", severity=50)
        await plant.until(lambda: len(plant.told) >= 3)
    assert [kind for kind, _ in plant.told] == ["raised", "acknowledged", "cleared"]
    raised = plant.told[0][1]
    assert {name: raised[name] for name in ("alarm_id", "severity", "class", "text", "condition", "source", "first_out")} == {
        "alarm_id": known(plant, "High"), "severity": 800, "class": "mechanical", "text": "torque too high", "condition": "High",
        "source": "Filler", "first_out": False,
    }  # fmt: skip
    assert raised["instance_id"].endswith(f"/{round(rose.replace(tzinfo=dt.UTC).timestamp() * 1e6) * 1000}")
    assert len({content["instance_id"] for _, content in plant.told}) == 1


async def test_an_outage_of_the_line_costs_no_alarm(plant: Plant) -> None:
    """What fell, rose and stayed while the line was cut is told from the refresh: no alarm twice, none for ever."""
    async with plant.agent():
        await plant.refreshed(1)
        await plant.conditions.say("Fell")
        await plant.conditions.say("Stays")
        await plant.until(lambda: len(plant.told) == 2)
        before = dt.datetime.now(dt.UTC)
        plant.cut()
        await plant.conditions.say("Fell", active=False, acked=True)
        rose = (await plant.conditions.say("New")).Time
        await plant.refreshed(2)
        await plant.until(lambda: len(plant.told) == 4)
        await plant.conditions.say("Stays", active=False, acked=True)
        await plant.until(lambda: any(content["alarm_id"] == known(plant, "Stays") for _, content in plant.told[4:]))
    found = {(kind, content["condition"]): content for kind, content in plant.told[2:]}
    assert set(found) == {("cleared", "Fell"), ("raised", "New"), ("cleared", "Stays"), ("acknowledged", "Stays")}
    assert found["raised", "New"]["instance_id"].endswith(f"/{round(rose.replace(tzinfo=dt.UTC).timestamp() * 1e6) * 1000}")
    fell = found["cleared", "Fell"]
    began, ended = (parse(one) / 1e9 for one in fell["ts"]["interval"])
    assert fell["derivation"] == "recovered"
    assert began <= before.timestamp() <= ended


async def test_a_restarted_agent_goes_on_with_the_alarms_it_knew(plant: Plant) -> None:
    """Another agent on the same store: the alarm that stands is not raised again, the one that is gone is cleared."""
    async with plant.agent():
        await plant.refreshed(1)
        await plant.conditions.say("Gone")
        await plant.conditions.say("Stays")
        await plant.until(lambda: len(plant.told) == 2)
    await plant.conditions.say("Gone", active=False, acked=True)
    async with plant.agent():
        await plant.until(lambda: len(plant.told) == 3)
        await plant.conditions.say("Stays", active=False, acked=True)
        await plant.until(lambda: len(plant.told) == 5)
    told = [(kind, content["condition"]) for kind, content in plant.told]
    assert told[2:4] == [("cleared", "Gone"), ("cleared", "Stays")]
    assert plant.told[1][1]["instance_id"] == plant.told[3][1]["instance_id"]


async def test_a_server_that_restarts_with_moved_namespaces_keeps_its_alarms_names(plant: Plant) -> None:
    """A restart of the server ends what was active, uncertainly; what it tells then has the id of before, though the namespace's number moved."""
    async with plant.agent():
        await plant.refreshed(1)
        await plant.conditions.say("High")
        await plant.until(lambda: len(plant.told) == 1)
        await plant.plc.stop()
        plant.conditions.retained.clear()
        await plant.plc.restart_with_moved_namespace()
        await plant.plc.add("Speed", 1)
        await plant.conditions.start()
        await plant.conditions.say("High")
        await plant.until(lambda: len(plant.told) == 3)
    assert [(kind, content["alarm_id"]) for kind, content in plant.told] == [
        (kind, known(plant, "High")) for kind in ("raised", "cleared", "raised")
    ]


@pytest.mark.parametrize(("change", "words"), [
    ({"alarms": {"device": {"conditions": "plc.alarm"}}}, "did you mean 'plc.alarms'"),
    ({"alarms": {"device": {"conditions": "plc.speed"}}}, "is a variable and no alarm source"),
    ({"alarms": {"device": {"bit": "plc.alarms"}}}, "is an alarm source and has no value"),
    ({"counters": {"total": {"tag": "plc.alarms", "role": "total", "wraps": "uint16", "max_rate": "1/s"}}}, "is condition and no number"),
    ({"telemetry": {"tags": ["plc.alarms"]}}, "telemetry.tags: 'plc.alarms' is an alarm source"),
])  # fmt: skip
def test_a_unit_that_misnames_an_alarm_source_is_told(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    """A wrong name, a variable taken for a source and a source taken for a variable are mistakes of the unit, with file and line."""
    file = tmp_path / "agent.yaml"
    file.write_text(json.dumps(configuration(4840, **change) | {"buffer": {"path": "./buffer"}}, indent=1))
    with pytest.raises(InvalidConfigError, match=words):
        load(file)


@pytest.mark.parametrize(("units", "words"), [
    ({}, "plc.alarms is an alarm source that no unit tells"),
    ({"a": [], "b": []}, "every alarm of plc.alarms is told by a and by b; give each unit its sources"),
    ({"a": ["Filler*"], "b": ["Packer*"]}, ""), ({"a": [], "b": ["Packer*"]}, ""),
])  # fmt: skip
def test_alarms_that_nobody_tells_or_everybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], units: dict[str, list[str]], words: str
) -> None:
    """The check warns of an alarm source that is collected for nothing, and of one that two units tell whole."""
    whole = configuration(4840) | {"buffer": {"path": str(tmp_path / "buffer")}}
    whole["units"] = [
        {
            "version": 1,
            "unit": name,
            "path": ["acme", "plant1", "line1"],
            "alarms": {"x": {"conditions": "plc.alarms", "sources": sources}},
        }
        for name, sources in units.items()
    ]
    file = tmp_path / "agent.yaml"
    file.write_text(json.dumps(whole))
    assert check(file, as_json=True) == 0
    warnings = json.loads(capsys.readouterr().out)["warnings"]
    told = [warning for warning in warnings if "plc.alarms" in warning]
    assert len(told) == bool(words)
    assert all(warning.startswith(words) for warning in told)
