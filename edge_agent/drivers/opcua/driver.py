"""OPC UA as a driver: one session for all devices of an endpoint, acquisition in tasks of its own, one guarded way to write."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import structlog
from asyncua import ua

from edge_agent.drivers.opcua import expiry, resume
from edge_agent.drivers.opcua.channel import Secured
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.convert import TYPE_IDS
from edge_agent.drivers.opcua.device import Device
from edge_agent.drivers.opcua.inbox import Inbox
from edge_agent.drivers.opcua.members import Endpoint
from edge_agent.drivers.opcua.opening import opened
from edge_agent.drivers.opcua.pace import PACE, Pace
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.subscribe import PublishLoop
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Tag, Value
from edge_agent.ports import DeviceWiring, Driver, Identity, PlantClock

_NO_WIRING: Final = DeviceWiring()


class OpcUaDriver:
    """An open connection to one server (`edge_agent.ports.Driver`)."""

    def __init__(
        self, configs: Sequence[OpcUaConfig], wiring: Mapping[str, DeviceWiring], session: Session, clock: PlantClock, pace: Pace
    ) -> None:
        self._session = session
        self._loop = PublishLoop(session, pace)
        self._clock = clock
        self._inbox = Inbox(pace.rows, self._loop.accept, lambda name: self._devices[name].resync())
        endpoint = Endpoint(session, self._loop, self._inbox, clock, pace)
        wired = {config.device: wiring.get(config.device, _NO_WIRING) for config in configs}
        self._devices = {config.device: Device(config, wired[config.device], endpoint) for config in configs}
        self._writable = {
            (name, tag.name)
            for name, device in self._devices.items()
            for tag in device.tags
            if tag.acknowledge and tag.name in wired[name].acknowledge
        }
        self._log = structlog.get_logger().bind(devices=list(self._devices))

    @property
    def tags(self) -> Mapping[str, Sequence[Tag]]:
        """The tags of each device, in the order that ``Batch.tags`` indexes."""
        return {name: device.tags for name, device in self._devices.items()}

    async def read(self) -> Sequence[Batch]:
        """Return everything waiting and accept what was returned before; see `edge_agent.ports.Driver.read`."""
        return await self._inbox.take()

    def poll_at(self, time: int) -> bool:  # noqa: ARG002 - the seam's name
        """Do nothing: every tag is subscribed, and its samples carry their own time."""
        return False

    async def acknowledge(self, device: str, tag: str, value: Value) -> None:
        """Write one handshake tag that the device marks with ``acknowledge: true`` and a unit asked for.

        Raises PermissionError for any other tag and when the server refuses the write, DisconnectedError when the link is gone.
        """
        if (device, tag) not in self._writable:
            raise PermissionError(
                f"{device}.{tag} is no acknowledgement tag; mark it acknowledge: true and name it as ack: in a unit"
            )
        item = self._devices[device].by_name[tag]
        if item.node is None:
            raise DisconnectedError(f"{device}.{tag} is not there now: {item.detail}")
        self._session.guard.acknowledgements = self._acknowledgements()
        variant = ua.Variant(value, ua.VariantType(TYPE_IDS[item.tag.type or ""]))
        status = await self._session.write(item.node, variant)
        if status >> 31:
            raise PermissionError(f"{device}.{tag}: the server refuses to write it: {status_text(status)}")

    def _acknowledgements(self) -> frozenset[ua.NodeId]:
        """Return the node ids that may be written, as the server numbers its namespaces now."""
        items = [self._devices[device].by_name[tag] for device, tag in self._writable]
        return frozenset(item.node for item in items if item.node is not None)

    async def acquire(self, link: Secured) -> None:
        """Keep everything going until the connection is lost; `read` tells the caller, this never raises for it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._loop.run())
                for device in self._devices.values():
                    group.create_task(self._run(device))
                if link.server is not None:
                    group.create_task(expiry.watch(link, list(self._devices), self._clock, self._inbox.put))
        except* DisconnectedError as errors:
            self._inbox.fail(_first(errors))
        except* Exception as errors:  # noqa: BLE001 - the log gets the traceback, the reader a lost connection: it opens a new one
            self._log.error("opcua.broken", exc_info=errors)
            self._inbox.fail(DisconnectedError(f"the driver failed: {errors.exceptions[0]!r}"))

    @staticmethod
    async def _run(device: Device) -> None:
        await device.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(device.keep())
            group.create_task(device.watch_groups())
            group.create_task(device.poll())
            group.create_task(device.resubscribe())
            group.create_task(device.compare())
            group.create_task(device.alarms.run())


def _first(errors: BaseExceptionGroup[DisconnectedError]) -> DisconnectedError:
    """Return the first error that is no group."""
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return DisconnectedError("lost")


@contextlib.asynccontextmanager
async def connect(
    configs: Sequence[OpcUaConfig],
    clock: PlantClock,
    wiring: Mapping[str, DeviceWiring],
    pace: Pace = PACE,
    *,
    identity: Identity | None = None,
) -> AsyncIterator[Driver]:
    """Open one session for devices with the same link and yield the driver; closes within 3 s.

    Raises DisconnectedError when the server is not there, UntrustedError (one of those) when a person must act first.
    """
    wanted = any(config.keep and wiring.get(config.device, _NO_WIRING).returns for config in configs)
    keeps = wanted and resume.transfers(configs[0].url)
    async with opened(configs, clock, pace, identity, keeps) as (session, link):
        driver = OpcUaDriver(configs, wiring, session, clock, pace)
        task = asyncio.create_task(driver.acquire(link))
        try:
            yield driver
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
