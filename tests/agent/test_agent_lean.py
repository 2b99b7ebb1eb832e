"""What a running agent has loaded: memory that no configuration asked for is not spent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import asyncio, json, os, signal, sys
import uvloop

def until_driven(main):
    async def both():
        running = asyncio.ensure_future(main)
        while sys.argv[1] not in sys.modules:
            await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    asyncio.run(both())

uvloop.run = until_driven
wanted, config = sys.argv[1:]
sys.argv = [sys.argv[0], wanted]
from edge_agent.cli import app
app(["run", "-c", config, "--log-level", "error"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
_MODBUS = "driver: modbus\nhost: 127.0.0.1\nport: 1\ntags: {a: {register: holding, address: 0, type: uint16}}\n"
_OPCUA = "driver: opcua\nurl: opc.tcp://127.0.0.1:1\nallow_insecure: true\nnamespace: urn:x\ntags: {a: {node: s=a, type: int64}}\n"
_NODE = "outputs: {plant: {profile: sparkplug, broker: mqtt://127.0.0.1:1, allow_insecure: true}}\n"


def _loaded(folder: Path, device: str, driver: str, more: str = "") -> set[str]:
    """Return what an agent with this device has imported once its driver works; nobody answers it."""
    (folder / "devices").mkdir()
    (folder / "units").mkdir()
    (folder / "agent.yaml").write_text(
        f"version: 1\nagent: lean\nsite: [a, b]\nmqtt: {{broker: 'mqtt://127.0.0.1:1', allow_insecure: true}}\n"
        f"buffer: {{path: {folder}/buffer}}\n{more}"
    )
    (folder / "devices" / "d.yaml").write_text(f"version: 1\ndevice: d\n{device}")
    (folder / "units" / "u.yaml").write_text("version: 1\nunit: u\npath: [a, b, c, u]\ntelemetry: {tags: [d.a]}\n")
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, driver, str(folder)],
        capture_output=True, text=True, check=False, timeout=60, env=surroundings,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_an_agent_of_modbus_loads_what_modbus_needs(tmp_path):
    """An agent with Modbus alone has neither OPC UA nor Sparkplug's Protocol Buffers nor the console's formatting in memory."""
    found = _loaded(tmp_path, _MODBUS, "edge_agent.drivers.modbus.device")
    assert "pymodbus" in found
    assert not found & {"asyncua", "cryptography", "google", "rich", "pygments", "attr", "prometheus_client", "openpyxl"}


def test_an_agent_of_opcua_loads_what_opcua_needs(tmp_path):
    """An agent with OPC UA alone has no Modbus library in memory."""
    found = _loaded(tmp_path, _OPCUA, "edge_agent.drivers.opcua.device")
    assert "asyncua" in found
    assert not found & {"pymodbus", "serial", "google", "rich", "pygments"}


def test_sparkplug_is_loaded_where_it_is_an_output(tmp_path):
    """An agent with an output of Sparkplug loads Protocol Buffers for it."""
    assert "google" in _loaded(tmp_path, _MODBUS, "edge_agent.agent.speak", _NODE)


@pytest.mark.parametrize("driver", ["modbus", "opcua"])
def test_a_worker_begins_without_the_console(driver):
    """A worker process loads the console's formatting no more than the agent does."""
    program = f"import sys, edge_agent.agent.worker.__main__, edge_agent.drivers.{driver}.device\nprint('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
