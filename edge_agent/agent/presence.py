"""Gathers what the agent's retained status says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from edge_agent import __version__
from edge_agent.agent.collect import DeviceState
from edge_agent.agent.discipline import Discipline
from edge_agent.agent.faults import AgentFault
from edge_agent.agent.troubles import of_agent, of_devices, of_files
from edge_agent.agent.unit import Unit
from edge_agent.agent.vitals import Vitals
from edge_agent.model.instant import iso
from edge_agent.ports import Buffer, BufferStats, PlantClock
from edge_agent.status.presence import AgentStatus, BufferStatus, ClockStatus, DeviceStatus, FaultStatus, LastWill, Word, shortened


class Presence:
    """What an agent says of itself to everybody; ``vitals`` and ``trust`` (the clock) are given where there are such, ``units`` and ``cfg`` anew when a reload changes them."""

    def __init__(self, agent: str, session: str, buffer: Buffer, clock: PlantClock, units: Iterable[Unit]) -> None:
        """Describe agent ``agent`` in its run ``session``."""
        self._agent, self._session, self._buffer, self._clock = agent, session, buffer, clock
        self.units = tuple(units)
        self.vitals: Vitals | None = None
        self.trust: Discipline | None = None
        self.cfg = ""
        self.unapplied: Callable[[], AgentFault | None] = lambda: None
        self.stats: BufferStats | None = None
        self.raised: Callable[[], Sequence[tuple[str, str, str]]] = list

    async def look(self) -> None:
        """Ask the store how it does; what follows says so. Raises StorageError when its writer has ended."""
        self.stats = await self._buffer.stats()

    def status(self, word: Word, devices: Mapping[str, DeviceState]) -> AgentStatus:
        """Return the agent's status."""
        shown = [*self._faults(devices)]
        store = "" if self.stats is None or self.stats.healthy else self.stats.detail.partition("; ")[0]
        missing = not all(state.up and state.ready for state in devices.values())
        serious = missing or any(fault.level == "critical" for fault in shown)
        return AgentStatus(
            status=word,
            agent=self._agent,
            session=self._session,
            version=__version__,
            cfg=self.cfg,
            time=iso(self._clock.now()),
            epoch=self._buffer.epoch or None,
            health="critical" if store else "degraded" if serious else "ok",
            store=store or "ok",
            ready=bool(devices) and all(state.ready for state in devices.values()),
            devices={name: _device(state) for name, state in devices.items()},
            units={unit.name: "quarantined" if unit.quarantined else "ok" for unit in self.units},
            faults=shown,
            buffer=self._waiting(),
            clock=self._time(),
            certificates={} if self.vitals is None else self.vitals.days(),
        )

    def will(self) -> LastWill:
        """Return what the broker says when this session dies: no time, for it is written now and sent later."""
        return LastWill("offline", self._agent, self._session, __version__, self.cfg, iso(self._clock.now()))

    def _faults(self, devices: Mapping[str, DeviceState]) -> Iterator[FaultStatus]:
        units = {unit.name: f"quarantined: {unit.quarantined}" if unit.quarantined else "ok" for unit in self.units}
        found = [] if self.stats is None else [*of_agent(units, [], self.stats, [])]
        for each in (*found, *of_files(self.unapplied()), *of_devices(devices, self.raised())):
            yield FaultStatus(each.code, each.about, each.level)

    def _waiting(self) -> BufferStatus | None:
        if (stats := self.stats) is None:
            return None
        age = None if stats.oldest is None else round(max(0.0, (self._clock.now() - stats.oldest) / 1e9 / self._clock.speed), 1)
        disk = None if self.vitals is None else self.vitals.disk
        return BufferStatus(
            waiting=stats.waiting_events + stats.waiting_telemetry,
            oldest=None if stats.oldest is None else iso(stats.oldest),
            oldest_age_s=age,
            bytes=stats.bytes,
            dropped=stats.dropped,
            disk_free=None if disk is None else disk.free,
            disk_size=None if disk is None else disk.size,
        )

    def _time(self) -> ClockStatus | None:
        if self.trust is None:
            return None
        return ClockStatus(self.trust.state, self.trust.found.offset_ms, self.trust.found.error_ms)


def _device(state: DeviceState) -> DeviceStatus:
    down = not state.up or not state.ready
    offset = state.tally.clock_offset
    return DeviceStatus(
        up=bool(state.up),
        ready=state.ready,
        error=shortened(state.error or None),
        fault=state.fault or ("device_down" if down else None),
        faults=[code for code in state.faults if code != state.fault],
        last_good=None if state.last_good is None else iso(state.last_good),
        tags_bad=len(state.tally.bad),
        clock_offset_ms=None if offset is None else offset / 1e6,
    )
