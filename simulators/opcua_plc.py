"""The filler's PLC as a process: an OPC UA server that plays a scenario with exact source timestamps.

Every change of every tag is written, in order, at its time; while the scenario has the PLC without power, nothing listens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from asyncua.ua.status_codes import StatusCodes

from simulators.command import Stage, arguments, play, ready
from simulators.handshake import Handshake, Step
from simulators.line import Change, Line
from simulators.plc_server import PlcServer
from simulators.scenario import ScenarioError
from simulators.tags import HANDSHAKE, NODES
from simulators.vocabulary import SECOND

_AHEAD = 60 * SECOND
"""How far ahead changes are computed at a time."""


class Plc:
    """The scan: brings the server's values up to a given t."""

    def __init__(self, stage: Stage, server: PlcServer) -> None:
        self._clock, self._ledger, self._server = stage.clock, stage.ledger, server
        self._line = Line(stage.scenario)
        faults = stage.scenario.faults
        self._bad = faults.bad_status if stage.faults else ()
        if unknown := [one.status for one in faults.bad_status if not hasattr(StatusCodes, one.status)]:
            raise ScenarioError(f"faults.bad_status: {', '.join(unknown)} is no StatusCode of OPC 10000-4, like BadSensorFailure")
        self._handshake = Handshake(self._line.samples(), faults.dropped_acks if stage.faults else (), faults.reraise_after)
        self._changes: deque[Change] = deque()
        self._computed = 0
        self._power = deque(_power_events(stage))
        self._bad_edges = deque(sorted(t for one in self._bad for t in one.window))
        self._lock = asyncio.Lock()  # an acknowledgement arrives between two awaits of a scan

    async def boot(self, t: int) -> None:
        """Write every tag's boot value, then listen."""
        zeros = [Change(t, tag, NODES[tag].zero) for tag in HANDSHAKE]
        values = [Change(t, tag, self._line.value(tag, t)) for tag in self._line.tags]
        await self._server.write([*zeros, *values])
        await self._write_steps(self._handshake.advance(t))
        await self._server.power_on(t)
        self._ledger.write(t, "on", {change.tag: change.value for change in values})

    async def acknowledge(self, seq: int) -> None:
        """Take a write of Rec.Ack."""
        async with self._lock:
            await self._write_steps(self._handshake.acknowledge(self._clock.t(), seq))

    async def advance(self, t: int) -> None:
        """Play everything up to and including t."""
        while self._power and self._power[0][0] <= t:
            at, on = self._power.popleft()
            async with self._lock:
                await self._scan(at - 1)
                await (self._power_on(at) if on else self._power_off(at))
        async with self._lock:
            await self._scan(t)

    def next_time(self) -> int | None:
        """When something happens next, None for never."""
        times = [self._power[0][0]] if self._power else []
        times += [self._bad_edges[0]] if self._bad_edges else []
        self._look_ahead()
        times += [self._changes[0].t] if self._changes else []
        coming = self._handshake.next_time()
        return min([*times, *([] if coming is None else [coming])], default=None)

    async def _power_off(self, t: int) -> None:
        for step in self._handshake.power_off(t):
            self._record(step)
        await self._server.power_off()
        self._ledger.write(t, "off")

    async def _power_on(self, t: int) -> None:
        await self.boot(t)
        while self._changes and self._changes[0].t <= t:
            self._changes.popleft()

    def _look_ahead(self) -> None:
        while not self._changes and self._computed < self._line.length:
            until = min(self._computed + _AHEAD, self._line.length)
            self._changes.extend(self._line.changes(self._computed, until))
            self._computed = until

    async def _scan(self, t: int) -> None:
        due: list[tuple[int, int, Change | Step | int]] = []
        while True:
            self._look_ahead()
            if not self._changes or self._changes[0].t > t:
                break
            due.append((self._changes[0].t, 0, self._changes.popleft()))
        due += [(step.t, 1, step) for step in self._handshake.advance(t)]
        while self._bad_edges and self._bad_edges[0] <= t:
            edge = self._bad_edges.popleft()
            due.append((edge, 2, edge))
        for _, _, what in sorted(due, key=lambda item: item[:2]):
            if isinstance(what, Change):
                await self._write_change(what)
            elif isinstance(what, Step):
                await self._write_steps([what])
            else:
                await self._turn_status(what)

    async def _write_change(self, change: Change) -> None:
        if not any(one.tag == change.tag and one.window[0] <= change.t < one.window[1] for one in self._bad):
            await self._server.write([change])
        self._ledger.write(change.t, "change", {"tag": change.tag, "value": change.value})

    async def _turn_status(self, t: int) -> None:
        for one in self._bad:
            if one.window[0] == t:
                await self._server.write_bad(one.tag, one.status, t)
                self._ledger.write(t, "bad", {"tag": one.tag, "status": one.status})
            elif one.window[1] == t:
                await self._server.write([Change(t, one.tag, self._line.value(one.tag, t))])
                self._ledger.write(t, "good", {"tag": one.tag})

    async def _write_steps(self, steps: list[Step]) -> None:
        for step in steps:
            await self._server.write(step.writes)
            self._record(step)

    def _record(self, step: Step) -> None:
        self._ledger.write(step.t, step.what, {"k": step.sample.k, "seq": step.sample.seq, "boot": step.sample.boot})


def _power_events(stage: Stage) -> Iterator[tuple[int, bool]]:
    for reboot in stage.scenario.machine.reboots:
        yield reboot.off, False
        yield reboot.on, True


async def simulate(stage: Stage) -> None:
    """Play the PLC until cancelled."""
    server = PlcServer(stage.host, stage.port, stage.clock, stage.ledger)
    plc = Plc(stage, server)
    await server.build(plc.acknowledge)
    try:
        await plc.boot(0)
        ready(server.url)
        await stage.clock.wait_started()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tell_time(stage, server))
            await _scan_cycle(stage, plc)
    finally:
        await server.close()


async def _scan_cycle(stage: Stage, plc: Plc) -> None:
    while (coming := plc.next_time()) is not None:
        await stage.clock.sleep_until(coming)
        await plc.advance(stage.clock.t())
    await asyncio.Event().wait()


async def _tell_time(stage: Stage, server: PlcServer) -> None:
    while True:
        await server.tell_time()
        await asyncio.sleep(max(1 / stage.clock.speed, 0.1))


if __name__ == "__main__":
    play(arguments("opcua_plc", "The OPC UA PLC of a line."), simulate)
