"""The energy meter as a process: Modbus TCP, input registers 0-1 power W (float32 ABCD), 2-3 energy (uint32 CDAB), 4 status."""

from __future__ import annotations

import struct

from simulators.command import Stage, arguments, play
from simulators.line import Line
from simulators.modbus_server import INPUT, serve


def registers(line: Line, t: int) -> list[int]:
    """Give the input registers at t."""
    power = struct.unpack(">HH", struct.pack(">f", float(line.power(t))))
    high, low = divmod(line.meter_register(t), 2**16)
    return [*power, low, high, line.scenario.meter.status]


async def simulate(stage: Stage) -> None:
    """Play the meter until cancelled."""
    line = Line(stage.scenario)
    await serve(stage, stage.scenario.meter.unit_id, {INPUT: lambda t: registers(line, t)})


if __name__ == "__main__":
    play(arguments("modbus_meter", "The energy meter of a line."), simulate)
