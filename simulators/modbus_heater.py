"""The glue heater as a process: Modbus TCP, holding registers 0 PV and 1 SP (int16 x 0.1 CEL), 2 status bits."""

from __future__ import annotations

from simulators.command import Stage, arguments, play
from simulators.line import Line
from simulators.modbus_server import HOLDING, serve


def registers(line: Line, t: int) -> list[int]:
    """Give the holding registers at t."""
    return [value & 0xFFFF for value in line.heater_registers(t)]


async def simulate(stage: Stage) -> None:
    """Play the heater until cancelled."""
    line = Line(stage.scenario)
    await serve(stage, stage.scenario.heater.unit_id, {HOLDING: lambda t: registers(line, t)})


if __name__ == "__main__":
    play(arguments("modbus_heater", "The glue heater of a line."), simulate)
