"""From one endpoint to its units: takes what a driver has, hands it to every unit that reads from it, and accepts it when all have committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from edge_agent.agent.image import Image
from edge_agent.agent.tally import DeviceTally, newest
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.event import Acknowledge
from edge_agent.model.reading import Batch, DeviceDown, DeviceFault, DeviceUp
from edge_agent.ports import Driver, PlantClock, Polling

Deliver = Callable[[Batch], Awaitable[None]]
"""Hands one batch to a unit or to the agent's stream; returns when it is committed (or held in RAM while the disk is out of order)."""

_SEVERE = 800
"""How bad it is that a device stands still until a person comes, of 1000."""

_LAST_POLL = 1.0
"""Machine seconds that a driver gets at shutdown to deliver one last poll."""

_UNDER_WAY = 0.2
"""Machine seconds at shutdown for what a subscription has under way; nothing can be asked of it."""


_LOOK = 0.01
"""Machine seconds between two looks whether a reading has come."""


class DeviceState:
    """What is known of one device, for status and for the notices about its loss.

    ``fault`` names what it stands still for until a person comes; ``faults`` are those that it works with, by code.
    """

    def __init__(self, speed: float = 1.0) -> None:
        """Start as never seen; ``speed`` is the plant clock's."""
        self.tally = DeviceTally(speed)
        self.up: bool | None = None
        self.last_good: int | None = None
        self.received = 0
        self.error = ""
        self.ready = False
        self.fault = ""
        self.faults: dict[str, str] = {}
        self.image = Image()

    def seen(self, batch: Batch) -> None:
        """Remember the best time of the newest good sample, and whether the device answers."""
        for notice in (*batch.before, *batch.after):
            if isinstance(notice, DeviceUp):
                self.up, self.error = True, ""
            elif isinstance(notice, DeviceDown):
                self.up, self.error = False, notice.error
            elif isinstance(notice, DeviceFault):
                self.faults.pop(notice.code, None)
                if not notice.ok:
                    self.faults[notice.code] = f"{notice.text}; {notice.remedy}" if notice.remedy else notice.text
        self.tally.seen(batch)
        best = newest(batch)
        if best is None and not len(batch) and not batch.before and not batch.after:
            best = batch.received  # the device answered, and nothing had changed
        if best is not None:
            self.last_good = max(best, self.last_good or 0)


class Collector:
    """Runs the driver of one endpoint between `keep_open`'s tries."""

    def __init__(self, devices: Sequence[str], readers: Mapping[str, Sequence[Deliver]], clock: PlantClock) -> None:
        """Serve ``devices``; ``readers`` names for each device everybody who must commit before a batch is accepted."""
        self.devices = {name: DeviceState(clock.speed) for name in devices}
        self._readers = readers
        self._clock = clock
        self._driver: Driver | None = None
        self._poll_at = 0
        self._stopping = asyncio.Event()
        self.threshold: Callable[[Sequence[Batch]], Awaitable[None]] | None = None
        self._log = structlog.get_logger().bind(devices=list(devices))

    async def run(self, driver: Driver) -> None:
        """Read and deliver until the endpoint is lost (DisconnectedError) or `stop` was called."""
        self._driver = driver
        counts = driver.counts if isinstance(driver, Polling) else {}
        for name, device in self.devices.items():
            device.tally.connected(counts.get(name))
        if self._poll_at > self._clock.now():
            driver.poll_at(self._poll_at)
        stopping = asyncio.create_task(self._stopping.wait())
        reading: asyncio.Task[Sequence[Batch]] | None = None
        try:
            while not self._stopping.is_set():
                reading = asyncio.create_task(_read(driver))
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await self._deliver(reading.result())
                    reading = None
            await self._last_poll(driver, reading)
        finally:
            self._driver = None
            stopping.cancel()
            if reading is not None and not reading.done():
                reading.cancel()

    async def _last_poll(self, driver: Driver, reading: asyncio.Task[Sequence[Batch]] | None) -> None:
        """Take one reading of every polled tag at the moment of the stop, so that intervals close with what is true now."""
        stop = self._clock.now()
        polled = driver.poll_at(stop)
        late = set(self.devices)
        try:
            async with asyncio.timeout(_LAST_POLL if polled else _UNDER_WAY):
                while late:
                    batches = await (reading or _read(driver))
                    reading = None
                    await self._deliver(batches)
                    late -= {batch.device for batch in batches if batch.received >= stop}
        except (TimeoutError, DisconnectedError):
            self._log.debug("collect.last_poll", unanswered=sorted(late))

    async def _deliver(self, batches: Sequence[Batch]) -> None:
        if self.threshold is not None:
            await self.threshold(batches)
        for batch in batches:
            device = self.devices[batch.device]
            if device.fault and any(isinstance(notice, DeviceUp) for notice in batch.before):
                batch.after += (DeviceFault(batch.device, batch.received, device.fault, True),)
                device.fault = ""
            device.seen(batch)
            device.image.take(batch)
        # One unit takes them in this order: each delivery joins its inbox before the first await.
        await asyncio.gather(*(deliver(batch) for batch in batches for deliver in self._readers[batch.device]))
        for batch in batches:
            self.devices[batch.device].received = batch.received
            if len(batch):
                self.devices[batch.device].ready = True

    async def lost(self, error: DisconnectedError) -> None:
        """Tell every device's units that it is gone; once, not at each failed try."""
        now = self._clock.now()
        batches = []
        for name, device in self.devices.items():
            first_time, device.error = device.up is not False, str(error)
            down = (DeviceDown(name, now, device.last_good, str(error)),) if first_time else ()
            after = _stands_still(name, now, device, error)
            if down or after:
                device.up = False
                batches.append(Batch(name, now, before=down, after=after))
        await asyncio.gather(*(deliver(batch) for batch in batches for deliver in self._readers[batch.device]))

    def rewire(self, readers: Mapping[str, Sequence[Deliver]]) -> None:
        """From the next delivery on let others read; nothing that is delivered already goes to them. The connection stays."""
        self._readers = readers

    def present(self, name: str, now: int) -> Batch | None:
        """Return what a device has shown in all deliveries so far, as at ``now``, for whoever reads it from the next one on.

        A device that is away has shown that it is; of one that was never tried there is nothing to tell.
        """
        device = self.devices[name]
        if device.up:
            return device.image.shown(name, now)
        return None if device.up is None else Batch(name, now, before=(DeviceDown(name, now, device.last_good, device.error),))

    def succeed(self, before: DeviceState, name: str) -> None:
        """Go on with device ``name`` where a collector of before has left it: away, and that has been told."""
        device = self.devices[name]
        device.up, device.last_good, device.error = False, before.last_good, before.error

    @property
    def connected(self) -> bool:
        """Whether a driver is open now."""
        return self._driver is not None

    def poll_at(self, time: int) -> None:
        """Ask for a reading of the polled tags at plant time ``time``, also of a driver that is opened before then."""
        self._poll_at = time
        if self._driver is not None:
            self._driver.poll_at(time)

    async def read_now(self, within: float) -> None:
        """Read the polled tags and return when everybody has them, at the latest after ``within`` machine seconds; nothing where none are polled."""
        now = self._clock.now()
        if self._driver is None or not self._driver.poll_at(now):
            return
        try:
            async with asyncio.timeout(within):
                while any(device.up and device.received < now for device in self.devices.values()):  # noqa: ASYNC110 - a device rings no bell
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            self._log.debug("collect.read_now", unanswered=[name for name, device in self.devices.items() if device.received < now])

    async def acknowledge(self, effect: Acknowledge) -> None:
        """Write one handshake acknowledgement. When the device is away nothing is written: the PLC raises the record again."""
        device, _, tag = effect.tag.partition(".")
        if self._driver is None:
            return
        try:
            await self._driver.acknowledge(device, tag, effect.value)
        except DisconnectedError as error:
            self._log.info("acknowledge.lost", tag=effect.tag, value=effect.value, reason=str(error))
        except PermissionError as error:
            self._log.error("acknowledge.refused", tag=effect.tag, reason=str(error))

    def stop(self) -> None:
        """Ask `run` to take a last poll and return."""
        self._stopping.set()


def _stands_still(name: str, now: int, device: DeviceState, error: DisconnectedError) -> tuple[DeviceFault, ...]:
    """Return the news that a device waits for a person, or for another reason than before; a mere loss in between changes nothing."""
    if not error.fault or error.fault == device.fault:
        return ()
    cleared = (DeviceFault(name, now, device.fault, True),) if device.fault else ()
    device.fault = error.fault
    text = str(error).removesuffix(f"; {error.remedy}")
    return (*cleared, DeviceFault(name, now, error.fault, False, text, error.remedy, _SEVERE))


async def _read(driver: Driver) -> Sequence[Batch]:
    return await driver.read()
