"""The Modbus driver: all devices behind one endpoint, polled over one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never

from edge_agent.drivers.modbus import backup
from edge_agent.drivers.modbus.acquire import Acquisition
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.dial import Dial
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Tag, Value
from edge_agent.ports import DeviceWiring, PlantClock, PollCounts


class ModbusDriver:
    """The open endpoint (see `ports.Driver`). Modbus has nothing to accept, and nothing is ever written."""

    def __init__(self, acquisition: Acquisition) -> None:
        """Serve what ``acquisition`` collects."""
        self._acquisition = acquisition
        self._tags = {device.name: device.tags for device in acquisition.devices}

    @property
    def tags(self) -> Mapping[str, Sequence[Tag]]:
        """The tags of each device, in configuration order."""
        return self._tags

    @property
    def counts(self) -> Mapping[str, PollCounts]:
        """Figures of each device since the connect."""
        return {device.name: device.counts for device in self._acquisition.devices}

    async def read(self) -> Sequence[Batch]:
        """Wait for and return everything that was acquired; a batch without rows and notices says: polled, answered, nothing new.

        Raises DisconnectedError when the endpoint is lost, after everything else; the last batch of each device says `DeviceDown`.
        """
        return await self._acquisition.outlet.take()

    async def acknowledge(self, device: str, tag: str, value: Value) -> Never:
        """Raise PermissionError: this driver writes nothing."""
        raise PermissionError(
            f"{device}.{tag} = {value!r} is not written: the Modbus driver only reads; use a handshake that needs no answer"
        )

    def poll_at(self, time: int) -> bool:
        """Read and report every tag at plant time ``time``, changed or not."""
        self._acquisition.poll_at(time)
        return True


@asynccontextmanager
async def connect(
    configs: Sequence[ModbusConfig], clock: PlantClock, wiring: Mapping[str, DeviceWiring]
) -> AsyncIterator[ModbusDriver]:
    """Open one endpoint with all units behind it; inside, every device was polled once, except silent ones that would have held it up.

    ``configs`` have equal links: the same host, port and backups, or serial port. Raises DisconnectedError when no device answers at any
    address, ConfigError when a trigger group of ``wiring`` cannot be read in one request.
    """
    async with AsyncExitStack() as open_things:
        acquisition = await _started(configs, clock, wiring, open_things)
        running = asyncio.create_task(acquisition.run())
        try:
            yield ModbusDriver(acquisition)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)  # what ended it the outlet has told the reader


async def _started(
    configs: Sequence[ModbusConfig], clock: PlantClock, wiring: Mapping[str, DeviceWiring], open_things: AsyncExitStack
) -> Acquisition:
    """Return the acquisition at the first address where a device answers; an address is left before the next is tried."""
    reasons: list[str] = []
    for number, there in enumerate(backup.places(configs)):
        dial = Dial(there, clock.now)
        devices = [Device(config, wiring.get(config.device, DeviceWiring()), shared=len(configs) > 1) for config in there]
        for device in devices:
            device.place = backup.notice(device.config, number, clock.now(), "; ".join(reasons))
        acquisition = Acquisition(devices, clock, dial.open, backup.stay(configs, number))
        open_things.push_async_callback(dial.close)
        open_things.push_async_callback(acquisition.close)
        try:
            await acquisition.start()
        except DisconnectedError as error:
            await open_things.aclose()  # never two at once
            reasons.append(str(error))
        else:
            return acquisition
    raise DisconnectedError("; ".join(reasons))
