"""Nothing writes: the code holds no call that could, and with one patched in each wall alone stops it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from only_reads import PYMODBUS, ROOT, found, offences

sys.path.append(str(Path(__file__).parents[1] / "modbus"))

from modbus_plc import Plc, ScaledClock, device, serving

from edge_agent.drivers.modbus.driver import connect
from edge_agent.drivers.modbus.library import LibraryWire
from edge_agent.model.errors import DisconnectedError

TCP = "edge_agent/drivers/modbus/library.py"
SESSION = "edge_agent/drivers/opcua/session.py"

PATCHES = {
    "a coil": (TCP, "client.write_coil(0, True)"),
    "a register": (TCP, "client.write_register(0, 7)"),
    "registers, awaited": (TCP, "async def f(self): await self._client.write_registers(0, [7])"),
    "a mask": (TCP, "client.mask_write_register(0, 0, 1)"),
    "read and write": (TCP, "client.readwrite_registers(0)"),
    "diagnostics": (TCP, "client.diag_restart_communication(True)"),
    "by a name in a text": (TCP, "getattr(client, 'write_register')(0, 7)"),
    "a request object": (TCP, "client.execute(False, request)"),
    "a request class": (TCP, "from pymodbus.pdu.register_message import WriteSingleRegisterRequest"),
    "the whole library": (TCP, "import pymodbus.client"),
    "in another file": ("edge_agent/drivers/modbus/device.py", "from pymodbus.client import AsyncModbusTcpClient"),
    "in another floor": ("edge_agent/agent/collect.py", "from pymodbus.client import ModbusTcpClient"),
    "by importlib": ("edge_agent/drivers/modbus/device.py", "import importlib"),
    "bytes on the transport": (TCP, "self._client.ctx.transport.write(b'...')"),
    "bytes on a socket": ("edge_agent/drivers/modbus/dial.py", "sock.sendall(b'...')"),
    "an OPC UA value": (SESSION, "node.write_value(5)"),
    "an OPC UA attribute": (SESSION, "node.set_writable(True)"),
    "an OPC UA method": (SESSION, "node.call_method('2:Reset')"),
    "an OPC UA node": (SESSION, "client.delete_nodes([node])"),
    "an OPC UA history": (SESSION, "ua.HistoryUpdateRequest()"),
    "a write elsewhere": ("edge_agent/drivers/opcua/poll.py", "ua.WriteRequest()"),
    "a call elsewhere": ("edge_agent/drivers/opcua/poll.py", "ua.CallRequest()"),
    "asyncua elsewhere": ("edge_agent/agent/collect.py", "from asyncua import Client"),
    "an OPC UA server": (SESSION, "from asyncua.server.server import Server"),
}


def test_no_call_in_the_code_could_write() -> None:
    """Of all files of the agent; only the files that are listed know a library."""
    assert found() == []
    assert all((ROOT / file).is_file() for file in PYMODBUS)


@pytest.mark.parametrize("patch", PATCHES)
def test_a_write_that_is_patched_in_is_found(patch: str) -> None:
    """The look at the code alone finds each way of writing that the libraries have, at its line."""
    file, line = PATCHES[patch]
    source = (ROOT / file).read_text(encoding="utf-8")
    told = list(offences(file, f"{source}\n{line}\n"))
    assert {each.line for each in told} == {len(source.splitlines()) + 2}


WRITES = {
    5: ("write_coil", {"address": 0, "value": True}),
    6: ("write_register", {"address": 0, "value": 7}),
    15: ("write_coils", {"address": 0, "values": [True]}),
    16: ("write_registers", {"address": 0, "values": [7]}),
    22: ("mask_write_register", {"address": 0}),
    23: ("readwrite_registers", {"read_count": 1, "values": [7]}),
}


async def polled(port: int) -> None:
    """Run the driver until it fails."""
    async with asyncio.timeout(2), connect([device(port)], ScaledClock(), {}) as driver:
        while True:
            await driver.read()


@pytest.mark.parametrize("wall", ["_on_pdu", "_on_packet"])
@pytest.mark.parametrize("code", WRITES)
async def test_a_driver_that_writes_is_stopped_by_each_check_alone(code: int, wall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole driver, with a write patched in where it reads and one of its two checks taken away: no byte of it arrives, and it says so."""
    name, arguments = WRITES[code]

    async def write(self: LibraryWire, unit: int, block: object) -> object:
        return await getattr(self._client, name)(**arguments, device_id=unit)

    monkeypatch.setattr(LibraryWire, "_call", write)
    monkeypatch.setattr(LibraryWire, wall, lambda self, sending, data: data)
    plc = Plc()
    async with serving(plc):
        with pytest.raises((PermissionError, DisconnectedError), match="is blocked"):
            await polled(plc.port)
    assert plc.received == b""
    assert plc.connections >= 1
