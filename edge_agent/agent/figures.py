"""Gathers the metrics of a running agent when somebody asks: nothing is counted for them but by the batch, the record and the commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

from edge_agent.agent.build import Parts
from edge_agent.agent.collect import DeviceState
from edge_agent.agent.link import Link
from edge_agent.agent.vitals import process
from edge_agent.model.histogram import Histogram
from edge_agent.model.instant import parse
from edge_agent.status.families import FAMILIES, Family, Sample
from edge_agent.status.report import Status

Row = tuple[str, tuple[str, ...], float | Histogram]
"""Family, values of its labels, value."""

_HEALTH = {"ok": 0, "degraded": 1, "critical": 2}


class Figures:
    """The metrics of one agent."""

    def __init__(
        self,
        parts: Parts,
        status: Callable[[], Awaitable[Status]],
        links: Sequence[Link],
        *,
        prefix: str,
        speed: float,
    ) -> None:
        """Describe ``parts``; ``status`` looks at the agent, ``prefix`` begins every event type."""
        self._parts, self._status, self._links = parts, status, links
        self._prefix, self._speed = f"{prefix}.", speed

    async def families(self) -> list[Family]:
        """Return every family that has something to tell, in the order of the table. Raises StorageError as the status does."""
        status = await self._status()
        stats = await self._parts.buffer.stats()
        rows: dict[str, list[Sample]] = {}
        for part in (_agent(status), self._machine(), self._devices(), self._delivery(status), _buffer(status, self._speed)):
            for name, labels, value in part:
                rows.setdefault(name, []).append(Sample(labels, value))
        if stats.syncs is not None:
            rows["edge_agent_buffer_sync_duration_seconds"] = [Sample((), stats.syncs)]
        return [Family(name, shape, rows[name]) for name, shape in FAMILIES.items() if name in rows]

    def _machine(self) -> Iterator[Row]:
        vitals, own = self._parts.vitals, process()
        yield "edge_agent_loop_lag_seconds", (), vitals.lag
        if vitals.disk is not None:
            yield "edge_agent_disk_free_bytes", (), vitals.disk.free
            yield "edge_agent_disk_size_bytes", (), vitals.disk.size
        for name, ends in vitals.ends.items():
            yield "edge_agent_certificate_expiry_timestamp_seconds", (name,), ends
        if (trust := self._parts.journal.trust) is not None:
            yield "edge_agent_clock_synced", (), trust.found.synced
            yield "edge_agent_clock_offset_seconds", (), trust.found.offset_ms / 1e3
            if trust.found.error_ms is not None:
                yield "edge_agent_clock_error_seconds", (), trust.found.error_ms / 1e3
        yield "process_resident_memory_bytes", (), own.resident
        yield "process_cpu_seconds_total", (), own.cpu
        yield "process_open_fds", (), own.files
        yield "process_start_time_seconds", (), own.started

    def _devices(self) -> Iterator[Row]:
        for collector in self._parts.collectors:
            for name, state in collector.devices.items():
                yield "edge_agent_device_up", (name, self._parts.journal.devices[name][0]), bool(state.up)
                yield "edge_agent_device_tags", (name,), self._parts.tags.get(name, 0)
                for code in dict.fromkeys(filter(None, (state.fault, *state.faults))):
                    yield "edge_agent_device_fault", (name, code), 1
                yield from _device(name, state)

    def _delivery(self, status: Status) -> Iterator[Row]:
        for unit in self._parts.units:
            yield "edge_agent_unit_quarantined", (unit.name,), unit.quarantined is not None
        for kind, count in sorted(self._parts.journal.made.items()):
            name = kind.removeprefix(self._prefix)
            yield "edge_agent_events_total", (name.rpartition(".v")[0] or name,), count
        for link in self._links:
            if link.kind != "device":
                yield "edge_agent_broker_up", (link.kind,), bool(link.up)
                yield "edge_agent_broker_connects_total", (link.kind,), link.connects
        yield "edge_agent_records_acknowledged_total", (), status.delivery.sent
        yield "edge_agent_records_rejected_total", (), status.delivery.rejected
        yield "edge_agent_acknowledge_duration_seconds", (), self._parts.delivered.acknowledgements


def _agent(status: Status) -> Iterator[Row]:
    yield "edge_agent_info", (status.agent, status.version, status.cfg), 1
    yield "edge_agent_health", (), _HEALTH[status.health]
    for (code, level), count in Counter((each.code, each.level) for each in status.faults).items():
        yield "edge_agent_faults", (code, level), count


def _device(name: str, state: DeviceState) -> Iterator[Row]:
    tally, of = state.tally, (name,)
    if state.last_good is not None:
        yield "edge_agent_device_last_good_timestamp_seconds", of, state.last_good / 1e9
    yield "edge_agent_device_connects_total", of, tally.connects
    yield "edge_agent_device_tags_bad", of, len(tally.bad)
    yield "edge_agent_device_batches_total", of, tally.batches
    yield "edge_agent_device_samples_total", of, tally.samples
    if (polls := tally.polls) is not None:
        yield "edge_agent_device_request_duration_seconds", of, tally.requests
        yield "edge_agent_device_polls_total", of, polls.polls
        yield "edge_agent_device_polls_late_total", of, polls.late
        yield "edge_agent_device_polls_missed_total", of, polls.missed
        yield "edge_agent_device_polls_discarded_total", of, polls.discarded
        yield "edge_agent_device_poll_lateness_seconds_total", of, polls.lateness / 1e9
    for reason, count in tally.gaps.items():
        yield "edge_agent_device_gaps_total", (name, reason), count
    if tally.clock_offset is not None:
        yield "edge_agent_device_clock_offset_seconds", of, tally.clock_offset / 1e9


def _buffer(status: Status, speed: float) -> Iterator[Row]:
    buffer = status.buffer
    oldest = 0.0 if buffer.oldest is None else max(0.0, (parse(status.time) - parse(buffer.oldest)) / 1e9 / speed)
    yield "edge_agent_buffer_healthy", (), buffer.healthy
    yield "edge_agent_buffer_records", ("event",), buffer.waiting_events
    yield "edge_agent_buffer_records", ("telemetry",), buffer.waiting_telemetry
    yield "edge_agent_buffer_oldest_age_seconds", (), oldest
    yield "edge_agent_buffer_bytes", (), buffer.bytes
    yield "edge_agent_buffer_dead_letters", (), buffer.dead_letters
    yield "edge_agent_buffer_dropped_total", (), buffer.dropped
    yield "edge_agent_buffer_commits_total", (), buffer.commits
