"""An agent as a process over OPC UA and Modbus, whose files change: by SIGHUP and by `edge-agent reload`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from counting_device import Device, longest
from opcua_plant import URI, Plc, Proxy, free_port

from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.client import RemoteDesk
from edge_agent.status.report import Status

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.5
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


class Line:
    """Devices ``mb1``, ``mb2`` (Modbus) and ``ua`` (OPC UA), each with a unit; the agent is a process."""

    def __init__(self, folder: Path, devices: list[Device], plc: Plc, proxy: Proxy) -> None:
        """Write the files."""
        self.folder, self.devices, self.plc, self.proxy, self.made = folder, devices, plc, proxy, 100
        self.desk = RemoteDesk(folder / "buffer" / "gw1.sock")
        self.write("agent", self.settings())
        for number in (1, 2):
            self.write(f"devices/mb{number}", self.modbus(number))
        self.write("devices/ua", self.opcua())
        for device in ("mb1", "mb2", "ua"):
            counter = {"tag": f"{device}.count", "role": "total", "wraps": "uint16", "max_rate": "1000/s"}
            self.write(f"units/m_{device}", {"version": 1, "unit": f"m_{device}", "counters": {"total": counter}})

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what agent.yaml holds."""
        mqtt = {"broker": f"mqtt://127.0.0.1:{free_port()}", "allow_insecure": True}
        buffer = {"path": str(self.folder / "buffer"), "min_free": 0}
        return {"version": 1, "agent": "gw1", "site": ["acme"], "mqtt": mqtt, "buffer": buffer} | more

    def modbus(self, number: int, **more: Any) -> dict[str, Any]:
        """Return what the file of a Modbus device holds."""
        tags = {"count": {"register": "holding", "address": 0, "type": "uint16"}}
        way = {"host": "127.0.0.1", "port": self.devices[number - 1].port, "unit_id": 1}
        return {"version": 1, "device": f"mb{number}", "driver": "modbus", "poll": "500ms", "tags": tags} | way | more

    def opcua(self, **more: Any) -> dict[str, Any]:
        """Return what the file of the OPC UA device holds."""
        way = {"url": f"opc.tcp://127.0.0.1:{self.proxy.port}", "allow_insecure": True, "namespace": URI}
        tags = {"count": {"node": "s=Count", "type": "uint16"}}
        return (
            {"version": 1, "device": "ua", "driver": "opcua", "sampling": "50ms", "publishing": "100ms", "tags": tags} | way | more
        )

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a file."""
        file = self.folder / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1))

    async def status(self) -> Status | None:
        """Return what the agent says, None while it does not answer."""
        try:
            return await asyncio.to_thread(asyncio.run, self.desk.status())
        except EdgeAgentError:
            return None

    async def ready(self, cfg: str = "") -> Status:
        """Return the status as soon as all devices are read under another configuration than ``cfg``."""
        async with asyncio.timeout(90):
            while True:
                found = await self.status()
                if found is not None and found.cfg != cfg and all(each.up and each.ready for each in found.devices.values()):
                    return found
                await asyncio.sleep(0.05)

    async def tick(self) -> None:
        """Make parts on the OPC UA side."""
        while True:
            self.made += 1
            await self.plc.write("Count", self.made, ua.VariantType.UInt16)
            await asyncio.sleep(0.05)

    async def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command as a process; return its exit code and what it says."""
        child = await _start(*arguments)
        out, error = await asyncio.wait_for(child.communicate(), 90)
        assert b"Traceback" not in error, error.decode()
        return child.returncode or 0, out.decode(), error.decode()

    async def told(self, stream: str) -> list[dict[str, Any]]:
        """Return the events of a stream that the store of the ended agent holds."""
        code, out, error = await self.run("buffer", "export", "--store", self.folder / "buffer", "--stream", stream)
        assert code == 0, error
        return [json.loads(row) for row in out.splitlines()]


async def _start(*arguments: object) -> Process:
    environment = {name: value for name, value in os.environ.items() if name != "RUNTIME_DIRECTORY"}
    command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE)


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[tuple[Line, Process]]:
    """Run devices and agent; all devices are read when the block begins."""
    devices, plc = [Device(), Device()], Plc(free_port())
    await plc.start()
    await plc.add("Count", 100, ua.VariantType.UInt16)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(plc.stop)
        proxy = await stack.enter_async_context(Proxy(plc.port).running())
        for device in devices:
            server = await stack.enter_async_context(await asyncio.start_server(device.serve, "127.0.0.1", 0))
            device.port = server.sockets[0].getsockname()[1]
        made = Line(folder, devices, plc, proxy)
        ticking = asyncio.create_task(made.tick())
        agent = await _start("run", "-c", folder, "--log-format", "text")
        reading = asyncio.create_task(agent.communicate())
        try:
            await made.ready()
            yield made, agent
        finally:
            if agent.returncode is None:
                agent.send_signal(signal.SIGTERM)
            await asyncio.wait_for(reading, 60)
            ticking.cancel()
            await asyncio.wait([ticking])


async def test_an_agent_takes_over_its_files_while_it_counts(tmp_path) -> None:
    """SIGHUP and the command; each device in turn restarts alone, wrong files change nothing, and in the end every part is counted once."""
    async with line(tmp_path) as (plant, agent):
        first = await plant.ready()
        began = time.monotonic()

        plant.write("devices/mb2", plant.modbus(2, poll="400ms"))
        agent.send_signal(signal.SIGHUP)
        second = await plant.ready(first.cfg)
        assert (plant.proxy.requests["Write"], len(plant.proxy._writers)) == (0, 2)  # one connection with two ends
        assert [device.links for device in plant.devices] == [1, 2]

        plant.write("devices/ua", plant.opcua(sampling="40ms"))
        code, out, error = await plant.run("reload", "-c", tmp_path)
        assert (code, error) == (0, "")
        assert "device ua changed" in out
        assert "mb" not in out
        third = await plant.ready(second.cfg)
        assert third.session == first.session

        plant.write("devices/mb2", plant.modbus(2, pol="400ms"))
        code, out, error = await plant.run("reload", "-c", tmp_path)
        assert (code, out) == (78, "")
        assert f"{tmp_path}/devices/mb2.yaml:" in error
        assert "unknown key 'pol'" in error
        status = await plant.status()
        assert status is not None
        assert (status.cfg, [each.code for each in status.faults if each.about == "configuration"]) == (
            third.cfg,
            ["config_rejected"],
        )

        plant.write("devices/mb2", plant.modbus(2, poll="400ms"))
        plant.write("agent", plant.settings(site=["other"], mqtt={"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}))
        code, _, error = await plant.run("reload", "-c", tmp_path)
        assert code == 1
        assert "site cannot be changed while the agent runs" in error
        assert "restart the service" in error

        await asyncio.sleep(2 * POLL)
        assert longest(plant.devices[0].polls, began, POLL) < 1.5
        assert [device.links for device in plant.devices] == [1, 2]
        agent.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(agent.wait(), 30) == 0
        for unit in ("m_mb1", "m_mb2", "m_ua"):
            events = await plant.told(unit)
            assert [event["data"]["seq"] for event in events] == list(range(1, len(events) + 1))
            assert len({event["data"]["epoch"] for event in events}) == 1
            counts = [event["data"] for event in events if event["type"].endswith("production.count.v1")]
            baselines = [event["data"] for event in events if event["type"].endswith("counter.discontinuity.v1")]
            assert sum(count["delta"] for count in counts) == int(counts[-1]["raw"]) - int(baselines[0]["raw_after"]) > 0
            assert len(baselines) == 1
            changed = sum(event["type"].endswith("config.changed.v1") for event in events)
            assert changed == (0 if unit == "m_mb1" else 1)


async def test_nobody_to_ask_is_said(tmp_path) -> None:
    """Without an agent there is nothing to reload: exit code 1, and 78 where not even its name can be read."""
    file = tmp_path / "agent.yaml"
    content = {"version": 1, "agent": "gw1", "site": ["acme"], "buffer": {"path": str(tmp_path / "buffer")}}
    file.write_text(json.dumps(content | {"mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}}))
    for text, code, said in ((file.read_text(), 1, "no agent gw1 is running"), ("version: 2\n", 78, "agent.yaml:1:")):
        file.write_text(text)
        child = await _start("reload", "-c", file)
        _, error = await child.communicate()
        assert (child.returncode, said in error.decode()) == (code, True), error.decode()
