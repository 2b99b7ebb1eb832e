"""Who plays in a demo: the devices of a scenario as programs, with the environment variable by which the configuration finds each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.cli.demo.fitting import change, fitted

LINKED = "plc1"
"""The device of a plant whose link can be cut."""


@dataclass(frozen=True)
class Player:
    """One device: its name, the program that plays it, the variable for its port, and whether its link can be cut."""

    name: str
    program: tuple[str, ...]
    port: str
    linked: bool = False


def players(script: Mapping[str, Any]) -> Sequence[Player]:
    """Return the devices of a scenario: those of the demo line (version 1), or those that a plant (version 2) lists."""
    if script["version"] == 1:
        return (
            Player("plc", ("simulators.opcua_plc",), "PLC_PORT", linked=True),
            Player("meter", ("simulators.modbus_meter",), "METER_PORT"),
            Player("heater", ("simulators.modbus_heater",), "HEATER_PORT"),
        )
    return [
        Player(name, ("simulators.plant.device", "--device", name), device["port"], linked=name == LINKED)
        for name, device in script["devices"].items()
    ]


def configured(root: Path, folder: Path, script: Mapping[str, Any]) -> Path:
    """Copy the configuration of a scenario to ``folder`` and fit it; a plant names its own, which gets the scenario's calendar."""
    if script["version"] == 1:
        return fitted(root / "config", folder, script)
    shutil.copytree(root / str(script["config"]), folder, dirs_exist_ok=True)
    shifts = {name: dict(shift) for name, shift in (script.get("shifts") or {}).items()}
    change(folder / "agent.yaml", {"time_zone": script["time_zone"], "shifts": shifts})
    return folder
