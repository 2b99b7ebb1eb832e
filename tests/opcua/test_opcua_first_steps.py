"""A device file that nobody wrote by hand: `init`, `browse --add`, `run`, each a process as a person starts it, against a server on loopback."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from asyncua import ua
from opcua_plant import Plc, free_port
from ruamel.yaml import YAML

from edge_agent.status.client import RemoteDesk
from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger

ROOT = Path(__file__).resolve().parents[2]
INIT = "--agent gw1 --site acme/plant1 --unit area/line1/m1 --yes"


async def edge_agent(*arguments: object) -> str:
    """Run a command to its end and return what it printed; it must go well, and without a traceback."""
    command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    out, err = await child.communicate()
    assert (child.returncode, b"Traceback" in err) == (0, False), (command, out, err)
    return out.decode()


async def _collected(folder: Path, least: int) -> None:
    """Run the agent until so many records wait in its store (no broker listens), and stop it as systemd does."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "edge_agent", "run", "-c", str(folder), cwd=ROOT)
    try:
        async with asyncio.timeout(40):
            while not (folder / "var" / "buffer" / "gw1.sock").is_socket():  # noqa: ASYNC110 - what another process does has no event here
                await asyncio.sleep(0.05)
            desk = RemoteDesk(folder / "var" / "buffer" / "gw1.sock")
            while (await desk.buffer()).waiting_telemetry < least:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
    finally:
        child.terminate()
        code = await child.wait()
    assert code == 0


async def test_a_device_that_browse_wrote_runs_unchanged(tmp_path: Path) -> None:
    """From a fresh folder on no key of the device's file is written by hand, and its values are in the store."""
    plc = Plc(free_port())
    await plc.start()
    try:
        line = await plc.server.nodes.objects.add_object(ua.NodeId("Line9", plc.index), f"{plc.index}:Line9")
        await line.add_variable(ua.NodeId("Line9.Speed", plc.index), f"{plc.index}:Speed", 41.5)
        await line.add_variable(ua.NodeId("Line9.Parts", plc.index), f"{plc.index}:Parts", ua.Variant(7, ua.VariantType.UInt32))
        folder, url = tmp_path / "gw", f"opc.tcp://127.0.0.1:{plc.port}"
        port = free_port()
        broker = f"mqtt://127.0.0.1:{port}"
        await edge_agent("init", folder, *INIT.split(), "--broker", broker, "--device", f"old=opcua:127.0.0.1:{plc.port}")
        for each in [*folder.glob("devices/*.yaml"), *folder.glob("units/*.yaml")]:
            each.unlink()  # the device shall come from the server alone
        device = folder / "devices" / "plc9.yaml"
        told = await edge_agent("browse", url, "Line9", "--add", device, "--allow-insecure", "-c", folder)
        assert "2 tags added" in told
        written = device.read_bytes()
        tags = list(YAML(typ="safe", pure=True).load(written.decode())["tags"])
        unit = f"version: 1\nunit: m1\npath: [acme, plant1, area, line1]\ntelemetry: {{tags: [{', '.join(f'plc9.{tag}' for tag in tags)}], publish: 200ms}}\n"
        (folder / "units").mkdir(exist_ok=True)
        (folder / "units" / "m1.yaml").write_text(unit)
        ledger = BrokerLedger(tmp_path / "ledger.jsonl")
        there = Broker(ledger, Faults())
        await there.listen("127.0.0.1", port)
        told = await edge_agent("check", "-c", folder, "--connect")
        await there.close()
        await ledger.close()
        assert f"broker {broker}: ok" in told
        await _collected(folder, 1)
        told = await edge_agent("buffer", "export", "-c", folder)
        assert device.read_bytes() == written
        assert "41.5" in told, told
        assert "plc9" in told, told
    finally:
        await plc.stop()
