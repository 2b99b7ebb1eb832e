"""The acquisition of one endpoint: which request when, what a failure means for the others, and when the endpoint is lost.

One request at a time over the one connection; each device is polled on its own grid. A connection on which an answer stayed out, or came
wrong, is never used again: a late answer must not meet the next request. It is replaced at once, one try, as long as some device of
the endpoint still answers; when none does, or the new connection fails, the endpoint is lost and its link decides what next.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence

import structlog

from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.outlet import Outlet
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.schedule import Grid, overrun
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.drivers.modbus.wire import BUSY, TARGET, RefusedError, Reply, SilentError, Wire
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.instant import NS
from edge_agent.ports import PlantClock

_SILENT_LIMIT = 2
"""Unanswered polls in a row after which a device is down although others answer."""

_INVALID_LIMIT = 3
"""Invalid answers in a row after which a device is down."""

_PROBE = 8.0
"""A silent device is asked again after this many of its timeouts, so that it costs the others an eighth of their time at most."""

_SHORTEST_PROBE = 0.5
_LOOK_AGAIN = 1.0


class _Job:
    """The blocks of one device that share a period, and their grid."""

    def __init__(self, device: Device, watches: list[Watch], phase: int, now: int) -> None:
        self.device = device
        self.watches = watches
        self.grid = Grid(watches[0].block.period, phase, now)
        self.polled = asyncio.get_running_loop().time()


class Acquisition:
    """Polls all devices of one endpoint into an outlet."""

    def __init__(
        self, devices: Sequence[Device], clock: PlantClock, open_wire: Callable[[Callable[[], None]], Awaitable[Wire]]
    ) -> None:
        """``open_wire`` makes one try to connect; what it is given is called when the connection is lost."""
        self.devices = devices
        self.outlet = Outlet()
        self._clock = clock
        self._open_wire = open_wire
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._silent: set[str] = set()
        self._boundaries: list[int] = []
        self._sleeper: asyncio.Future[None] | None = None
        self._answered = 0.0

    async def start(self) -> None:
        """Connect and poll every device once; raises DisconnectedError when none answers."""
        self._wire = await self._open_wire(self._wake)
        for device in self.devices:
            while device.up is None:
                await self._poll(device, device.watches)

    async def run(self) -> None:
        """Poll until the endpoint is lost or the task is cancelled; whatever ends it is raised by the outlet after the last batch."""
        try:
            await self._run()
        except DisconnectedError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - the log gets the traceback, the reader a lost connection: it opens a new one
            structlog.get_logger().error("modbus.broken", devices=[device.name for device in self.devices], exc_info=error)
            self._end(DisconnectedError(f"the driver failed: {error!r}"))

    def _end(self, error: DisconnectedError) -> None:
        now = self._clock.now()
        self.outlet.put([batch for device in self.devices for batch in device.went_down(now, str(error))])
        self.outlet.end(error)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._wire is not None:
            await self._wire.close()

    def poll_at(self, time: int) -> None:
        """Read every tag of every device at plant time ``time``, and report all of them."""
        heapq.heappush(self._boundaries, time)
        self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()

    async def _run(self) -> None:
        jobs = _jobs(self.devices, self._clock.now())
        while True:
            if self._wire is not None and self._wire.lost is not None:
                raise DisconnectedError(self._wire.lost)
            job = min(jobs, key=lambda job: job.grid.due)
            now = self._clock.now()
            if self._boundaries and self._boundaries[0] <= min(now, job.grid.due):
                await self._poll_everything(now)
            elif job.grid.due <= now:
                await self._poll_job(job, now)
            else:
                await self._sleep_until(min([job.grid.due, *self._boundaries[:1]]), now)
                now = self._clock.now()
                for job in jobs:
                    job.grid.clock_stepped_back(now)

    async def _sleep_until(self, due: int, now: int) -> None:
        """Return at plant time ``due``, when woken, or after machine time enough: a wall clock that was set back must not stop the polling."""
        self._sleeper = asyncio.ensure_future(self._clock.sleep_until(due))
        try:
            await asyncio.wait((self._sleeper,), timeout=(due - now) / NS / self._clock.speed + _LOOK_AGAIN)
        finally:
            self._sleeper.cancel()
            self._sleeper = None

    async def _poll_everything(self, now: int) -> None:
        while self._boundaries and self._boundaries[0] <= now:
            heapq.heappop(self._boundaries)
        for device in self.devices:
            if not self._given_up(device):
                device.forget()
                await self._poll(device, device.watches)

    async def _poll_job(self, job: _Job, now: int) -> None:
        device, grid = job.device, job.grid
        due = grid.due
        device.counts.late += now - due > grid.period // 2
        machine = self._loop.time()
        # A plant clock that was set forward is no absence: no more points can have been missed than time has passed.
        missed = min(grid.take(now), int((machine - job.polled) * self._clock.speed * NS) // grid.period)
        job.polled = machine
        if self._given_up(device):
            return
        device.counts.missed += missed
        if missed and overrun(missed, grid.period, self._clock.speed):
            device.lost("sampling_overrun", job.watches, missed, due)
        await self._poll(device, job.watches)

    def _given_up(self, device: Device) -> bool:
        return device.up is False and self._loop.time() < device.probe_at

    async def _poll(self, device: Device, watches: Sequence[Watch]) -> None:
        if device.up is False:
            watches = device.watches
        try:
            batches = await device.poll(watches, lambda block: self._ask(device, block), self._clock.now())
        except SilentError as silence:
            self._silent.add(device.name)
            device.discard("comm_loss", watches)
            await self._failed(device, str(silence), 1 if device.up is None else _SILENT_LIMIT, clean=silence.clean)
        except InvalidReplyError as error:
            device.discard("invalid_reply", watches)
            text = f"{self._who(device)} sent what is no answer to the request ({error}); is another master on the gateway?"
            await self._failed(device, text, _INVALID_LIMIT, clean=False)
        else:
            if batches:
                self._silent.clear()
            self.outlet.put(device.answered(batches, watches, room=not self.outlet.full))

    async def _ask(self, device: Device, block: Block) -> Reply:
        """Make one request of ``device``; one more when it says that it is busy."""
        config = device.config
        for last in (False, True):
            if (wait := self._answered + config.pause / NS - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if self._wire is None:
                raise DisconnectedError("the connection is closed")
            try:
                return await self._wire.read(config.unit_id, block, config.timeout / NS)
            except RefusedError as refusal:
                if refusal.code in TARGET:
                    raise SilentError(f"{self._who(device)}: {refusal}", clean=True) from refusal
                if last or refusal.code not in BUSY:
                    raise
            except SilentError:
                waited = f"{config.timeout / NS:g} s"
                text = f"{self._who(device)} did not answer a read of {block.name} within {waited}; is it on, is unit_id right?"
                raise SilentError(text) from None
            finally:
                self._answered = self._loop.time()
        raise AssertionError("unreachable")

    async def _failed(self, device: Device, text: str, limit: int, *, clean: bool) -> None:
        """Decide what a discarded poll means: for the device, for the connection, for the endpoint."""
        if not clean and self._wire is not None:
            wire, self._wire = self._wire, None
            await wire.close()
        if device.misses >= limit:
            device.probe_at = self._loop.time() + max(_PROBE * device.config.timeout / NS, _SHORTEST_PROBE)
            if any(other.up is not False for other in self.devices if other is not device):
                self.outlet.put(device.went_down(self._clock.now(), text))
        if all(
            other.up is False or other.name in self._silent or (other is device and device.misses >= limit)
            for other in self.devices
        ):
            raise DisconnectedError(text)
        if self._wire is None:
            self._wire = await self._open_wire(self._wake)

    def _who(self, device: Device) -> str:
        config = device.config
        return f"{device.name} (unit {config.unit_id} at {config.where})"


def _jobs(devices: Sequence[Device], now: int) -> list[_Job]:
    """Return one job for each device and period, their phases spread over the period so that they do not all come at once."""
    groups = [
        (device, [watch for watch in device.watches if watch.block.period == period])
        for device in devices
        for period in sorted({watch.block.period for watch in device.watches})
    ]
    return [
        _Job(device, watches, watches[0].block.period * number // len(groups), now)
        for number, (device, watches) in enumerate(groups)
    ]
