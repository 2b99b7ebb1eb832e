"""Backup addresses: which places a device can be read at, and what is told about the one in use (pure).

The rule: each new connection begins with the primary address and takes the next one when that does not open or no device answers there.
A connection that works is kept, on a backup until it fails or ``return_after`` is over; then the row begins anew. The connection to one place is closed
before the next is opened: there are never two at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.model.instant import NS
from edge_agent.model.quantity import duration_text
from edge_agent.model.reading import DeviceFault


def places(configs: Sequence[ModbusConfig]) -> list[list[ModbusConfig]]:
    """Return the devices of one endpoint as they are at each address, the primary first."""
    return [list(configs), *([_at(config, number) for config in configs] for number in range(len(configs[0].backups)))]


def _at(config: ModbusConfig, number: int) -> ModbusConfig:
    backup = config.backups[number]
    unit = config.unit_id if backup.unit_id is None else backup.unit_id
    return config.model_copy(update={"host": backup.host, "port": backup.port or config.port, "unit_id": unit})


def stay(configs: Sequence[ModbusConfig], number: int) -> float | None:
    """Return for how many machine seconds place ``number`` is used before the primary is tried again; None: until it fails."""
    waits = [config.return_after for config in configs if config.return_after is not None]
    return min(waits) / NS if number and waits else None


def notice(config: ModbusConfig, number: int, now: int, why: str) -> DeviceFault | None:
    """Return what to tell of a device that answers at place ``number``; ``why`` the places before it are not used. None without backups."""
    if not config.backups:
        return None
    if number == 0:
        return DeviceFault(config.device, now, "on_backup", True)
    until = (
        "until it fails" if config.return_after is None else f"for {duration_text(config.return_after)}, then the primary is tried"
    )
    text = f"{config.device} is read at its backup {config.where} (unit {config.unit_id}) {until}; {why}"
    return DeviceFault(config.device, now, "on_backup", False, text, "see why the primary address does not answer", 400)
