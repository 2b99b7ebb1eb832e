"""One device of a plant as a process: an OPC UA server with exact source timestamps, or a Modbus TCP server that computes what it is asked.

``python -m simulators.plant.device --scenario F --device plc1 --port 0 --clock FILE --ledger FILE``
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque

from simulators.command import arguments, ready
from simulators.line import Change
from simulators.modbus_server import HOLDING, ModbusServer
from simulators.plant.schema import Device
from simulators.plant.stage import PlantStage, play
from simulators.plc_server import PlcServer
from simulators.scenario import ScenarioError
from simulators.tags import Node
from simulators.tracks import Value
from simulators.vocabulary import SECOND

_AHEAD = 60 * SECOND
_WORDS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "float32": ">f"}


async def simulate(stage: PlantStage) -> None:
    """Play the device that was named until cancelled."""
    name = stage.options.device
    device = stage.plant.scenario.devices.get(name)
    if device is None:
        raise ScenarioError(f"no device '{name}'; there are {', '.join(stage.plant.scenario.devices)}")
    await (_opcua if device.driver == "opcua" else _modbus)(stage, name, device)


# -- OPC UA ------------------------------------------------------------------------------------------------------------------


async def _opcua(stage: PlantStage, name: str, device: Device) -> None:
    mine = {ref: item for ref, item in stage.plant.items.items() if ref.startswith(f"{name}.")}
    nodes = {ref: Node(item.node or ref, item.type, item.zero) for ref, item in mine.items()}
    server = PlcServer(stage.options.host, stage.options.port, stage.clock, stage.ledger, nodes, device.namespace)
    await server.build()
    try:
        await server.write([Change(0, ref, _typed(item.type, stage.plant.tags[ref].at(0))) for ref, item in mine.items()])
        await server.power_on(0)
        ready(server.url)
        await stage.clock.wait_started()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tell_time(stage, server))
            await _scan(stage, name, server)
    finally:
        await server.close()


async def _scan(stage: PlantStage, name: str, server: PlcServer) -> None:
    """Write every change at its time, in order."""
    computed, changes = 0, deque[Change]()
    while computed < stage.plant.length or changes:
        while not changes and computed < stage.plant.length:
            until = min(computed + _AHEAD, stage.plant.length)
            changes.extend(stage.plant.changes(name, computed, until))
            computed = until
        if not changes:
            break
        await stage.clock.sleep_until(changes[0].t)
        now = stage.clock.t()
        while changes and changes[0].t <= now:
            change = changes.popleft()
            await server.write([Change(change.t, change.tag, _typed(stage.plant.items[change.tag].type, change.value))])
            stage.ledger.write(change.t, "change", {"tag": change.tag, "value": change.value})
    await asyncio.Event().wait()


async def _tell_time(stage: PlantStage, server: PlcServer) -> None:
    while True:
        await server.tell_time()
        await asyncio.sleep(max(1 / stage.clock.speed, 0.1))


def _typed(kind: str, value: Value) -> Value:
    return float(value) if kind in {"Float", "Double"} else value


# -- Modbus ------------------------------------------------------------------------------------------------------------------


async def _modbus(stage: PlantStage, name: str, device: Device) -> None:
    tables = {HOLDING: lambda t: registers(stage, name, t)}
    modbus = ModbusServer(device.unit_id, tables, stage.clock, stage.ledger)
    server = await asyncio.start_server(modbus.handle, stage.options.host, stage.options.port)
    ready(f"tcp://{stage.options.host}:{server.sockets[0].getsockname()[1]}")
    starting = asyncio.create_task(stage.clock.wait_started())
    try:
        await asyncio.Event().wait()
    finally:
        starting.cancel()
        server.close()
        await modbus.close()


def registers(stage: PlantStage, name: str, t: int) -> list[int]:
    """Give the holding registers at t, high word first; those that no tag has are 0."""
    words: dict[int, int] = {}
    for ref, item in stage.plant.items.items():
        if ref.startswith(f"{name}.") and item.address is not None:
            raw = struct.pack(_WORDS[item.type], stage.plant.tags[ref].at(min(t, stage.plant.length)))
            words.update(enumerate(struct.unpack(f">{len(raw) // 2}H", raw), item.address))
    return [words.get(address, 0) for address in range(max(words, default=-1) + 1)]


if __name__ == "__main__":
    parser = arguments("plant.device", "One device of a plant.")
    parser.add_argument("--device", required=True, metavar="NAME", help="which of the scenario's devices")
    play(parser, simulate)
