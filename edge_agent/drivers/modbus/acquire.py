"""The acquisition of one endpoint: which request when, what a failure means for the others, and when the endpoint is lost.

One request at a time over the one connection (`connection`); each device is polled on its own grid. How long a device that does not answer
may hold up the others its `breaker` says. When none answers, or no new connection comes up, the endpoint is lost and its link
decides what next.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence

import structlog

from edge_agent.drivers.modbus.breaker import INVALID_LIMIT, SILENT_LIMIT
from edge_agent.drivers.modbus.channel import Connection, OpenWire, who
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.identity import StrangerError
from edge_agent.drivers.modbus.job import Job, Moment, jobs_of
from edge_agent.drivers.modbus.outlet import Outlet
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.schedule import overrun
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.drivers.modbus.wire import Reply, SilentError
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.instant import MS, NS
from edge_agent.ports import PlantClock

_LOOK_AGAIN = 1.0

_START_WITHIN = 5.0
"""Machine seconds that the start spends on silent devices. Those left have their turn on their grid when another has answered, or with the next try."""

_LATE = 50 * MS
"""Machine ns that a poll may be late before it counts as late: a breath of the machine is no matter of the device."""


class Acquisition:
    """Polls all devices of one endpoint into an outlet."""

    def __init__(self, devices: Sequence[Device], clock: PlantClock, open_wire: OpenWire, stay: float | None = None) -> None:
        """``open_wire`` makes one try to connect; ``stay`` is for how many machine seconds this endpoint is to be used at most."""
        self.devices = devices
        self.outlet = Outlet()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(open_wire, self._wake)
        self._until = None if stay is None else self._loop.time() + stay
        self._silent: set[str] = set()
        self._culprit: Device | None = None
        self._boundaries: list[int] = []
        self._sleeper: asyncio.Future[None] | None = None
        self._started: dict[str, Moment] = {}

    async def start(self) -> None:
        """Connect and poll every device, long silent ones later; raises DisconnectedError when none answers in time.

        Those that answered last are asked first, then those whose turn is longest ago: no two tries ask the same few in vain.
        """
        await self._connection.open()
        began = self._loop.time()
        for device in sorted(self.devices, key=lambda device: (-device.turn.heard, device.turn.asked)):
            spent = self._loop.time() - began
            if spent > _START_WITHIN and any(other.up for other in self.devices):
                return
            if spent > _START_WITHIN and self._silent:
                text = f"none of {len(self._silent)} units at {device.config.where} answered in {spent:.2g} s, {device.name} and others were not asked yet"
                raise DisconnectedError(text)
            device.turn.asked = self._loop.time()
            self._started[device.name] = Moment(self._clock.now(), device.turn.asked)
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
        await self._connection.drop()

    def poll_at(self, time: int) -> None:
        """Read every tag of every device at plant time ``time``, and report all of them."""
        heapq.heappush(self._boundaries, time)
        self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()

    async def _run(self) -> None:
        jobs = jobs_of(self.devices, self._started, Moment(self._clock.now(), self._loop.time()))
        while True:
            if self._connection.lost and await self._connection.closed():
                self._doubt()
            if self._until is not None and self._loop.time() >= self._until:
                raise DisconnectedError("the backup address was used for return_after; the primary is tried")
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

    async def _poll_job(self, job: Job, now: int) -> None:
        device, grid = job.device, job.grid
        due = grid.due
        self._late(device, now - due, grid.period, now)
        machine = self._loop.time()
        # A plant clock that was set forward is no absence: no more points can have been missed than time has passed.
        missed = min(grid.take(now), int((machine - job.polled) * self._clock.speed * NS) // grid.period)
        job.polled = machine
        if self._given_up(device):
            return
        missed += (rests := device.breaker.rests(machine))
        device.counts.missed += missed
        if missed and (rests or overrun(missed, grid.period, self._clock.speed)):
            device.lost("sampling_overrun", job.watches, missed, due)
        if rests:
            device.forget()  # what comes after the gap is reported whether it changed or not
        else:
            await self._poll(device, job.watches)

    def _late(self, device: Device, late: int, period: int, now: int) -> None:
        device.counts.late += late > period // 2
        device.counts.lateness += max(0, late)
        text = ""
        if bad := late > period // 2 and late > _LATE * self._clock.speed:
            text = f"{device.name} was polled {late / NS:.3g} s late, ten times in a row; its line is too busy for a poll every {period / NS:g} s"
        device.health.count("polls_late", bad, text, now, str(period))

    def _given_up(self, device: Device) -> bool:
        return device.up is False and device.breaker.rests(self._loop.time())

    def _doubt(self) -> None:
        for device in self.devices:
            if device.identity is not None:
                device.identity.doubt()

    async def _poll(self, device: Device, watches: Sequence[Watch]) -> None:
        if device.up is not True:
            watches = device.watches
        began, closes, self._connection.slowest = self._loop.time(), self._connection.closes, 0.0
        try:
            await self._recognise(device)
            batches = await device.poll(watches, lambda block: self._ask(device, block), self._clock.now())
            self._still_known(device, closes)
        except SilentError as silence:
            self._silent.add(device.name)
            device.discard("comm_loss", watches, self._clock.now())
            await self._failed(device, str(silence), 1 if device.up is None else SILENT_LIMIT, began, clean=silence.clean)
        except InvalidReplyError as error:
            device.discard("invalid_reply", watches, self._clock.now())
            text = f"{who(device.config)} sent what is no answer to the request ({error}); is another master on the gateway?"
            await self._failed(device, text, INVALID_LIMIT, began, clean=False)
        except StrangerError as stranger:
            self._silent.clear()
            device.breaker.rest(self._loop.time())
            text = f"{who(device.config)} is another device than before: {stranger}"
            self.outlet.put(device.replaced(self._clock.now(), text))
        else:
            if batches:
                self._answered(device, self._loop.time() - began)
            self.outlet.put(device.answered(batches, watches, room=not self.outlet.full))

    def _answered(self, device: Device, took: float) -> None:
        self._silent.clear()
        device.turn.heard = now = self._loop.time()
        slowest = self._connection.slowest
        if self._culprit is not None and device.breaker.slowest:  # its gateway may have been busy with it for longer than we waited
            self._culprit.breaker.blame(max(0.0, slowest - 2.0 * device.breaker.slowest))
        self._culprit = None
        at, text = self._clock.now(), ""
        if slow := device.breaker.answered(now, slowest, took):
            timeout = device.config.timeout / NS
            text = f"{device.name} needs {slowest:.3g} s for an answer, more than half of its timeout of {timeout:g} s"
        device.health.count("slow", slow, text, at)
        short = self._connection.short_lived > 0
        device.health.count("closes", short, f"{who(device.config)} closes the connection after each answer" if short else "", at)

    async def _recognise(self, device: Device) -> None:
        now = self._loop.time()
        if device.identity is not None and device.identity.due(now):
            await device.identity.verify(lambda block: self._ask(device, block), lambda first: self._identify(device, first), now)

    async def _identify(self, device: Device, first: tuple[int, int]) -> bytes:
        unit, patience = device.config.unit_id, self._patience(device)
        return await self._connection.ask(
            device.config, "its identification", lambda wire: wire.identify(unit, *first, patience), patience
        )

    def _patience(self, device: Device) -> float:
        return device.breaker.patience(self._dead(), max(other.breaker.slowest for other in self.devices))

    def _still_known(self, device: Device, closes: int) -> None:
        """Trust an answer only where no connection ended since the device was recognised; all are checked anew."""
        if self._connection.closes != closes:
            self._doubt()
            if device.identity is not None:
                raise SilentError(f"{who(device.config)} closed the connection; who answers now is asked first", clean=True)

    async def _ask(self, device: Device, block: Block) -> Reply:
        unit, patience = device.config.unit_id, self._patience(device) if device.breaker.doubted else device.breaker.timeout
        reply = await self._connection.ask(device.config, block, lambda wire: wire.read(unit, block, patience), patience)
        if device.identity is not None:
            device.identity.answered(self._loop.time())
        return reply

    async def _failed(self, device: Device, text: str, limit: int, began: float, *, clean: bool) -> None:
        """Decide what a discarded poll means: for the device, for the connection, for the endpoint."""
        waited = self._loop.time() - began
        if not clean:
            await self._connection.drop()
        broken = self._blamed(device, waited, clean=clean) and device.breaker.broken(limit)
        others = [other for other in self.devices if other is not device]
        if broken and any(other.up is not False or other.stranger is not None for other in others):
            self.outlet.put(device.went_down(self._clock.now(), text))
        if (broken or device.name in self._silent) and all(
            other.stranger is None and (other.up is False or other.name in self._silent) for other in others
        ):
            raise DisconnectedError(text)
        await self._connection.renew()
        if broken:
            now = self._loop.time()
            device.breaker.trip(now, now - began, waited, self._dead())

    def _blamed(self, device: Device, waited: float, *, clean: bool) -> bool:
        """Charge a miss to its device, or at first to the one before, on which a gateway may still have been waiting; returns whether to the device."""
        culprit = self._culprit
        if culprit is not None and culprit is not device and device.up is True and device.breaker.excused < SILENT_LIMIT:
            device.breaker.excused += 1
            culprit.breaker.blame(waited)
            return False
        device.breaker.missed(self._loop.time(), waited, clean=clean)
        self._culprit = None if clean else device
        return True

    def _dead(self) -> int:
        return sum(device.up is False and device.stranger is None for device in self.devices)
