"""What is wrong with the running agent now, each with the fault code under which the documents say more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edge_agent.agent.collect import DeviceState
from edge_agent.agent.faults import AgentFault
from edge_agent.buffer import failpoint
from edge_agent.model.fault import explained
from edge_agent.ports import BufferStats
from edge_agent.status.report import BufferReport, FaultReport, LinkReport


def of_devices(devices: Mapping[str, DeviceState], tags: Sequence[tuple[str, str, str]]) -> Iterator[FaultReport]:
    """Yield the faults of devices; ``tags`` are those of single tags: code, what about, text."""
    for name, state in devices.items():
        if not state.up or not state.ready:
            yield reported(state.fault or "device_down", f"device {name}", state.error or "no reading yet")
        for code, text in state.faults.items():
            if code != state.fault:
                yield reported(code, f"device {name}", text)
    for code, about, text in tags:
        yield reported(code, about, text)


def of_agent(
    units: Mapping[str, str], links: Sequence[LinkReport], buffer: BufferReport | BufferStats, silent: Sequence[str]
) -> Iterator[FaultReport]:
    """Yield the faults of units, broker and store; ``silent`` names connections to brokers that acknowledge nothing, in words."""
    if not buffer.healthy:
        yield reported("store_trouble", "buffer", buffer.detail, critical=True)
    if buffer.full:
        yield reported(
            "buffer_full", "buffer", f"{buffer.dropped:,} undelivered records were dropped since the start", critical=True
        )
    for name, state in units.items():
        if state != "ok":
            yield reported("unit_quarantined", f"unit {name}", state, critical=True)
    for link in links:
        if link.kind == "mqtt" and not link.up:
            yield reported("broker_down", link.name, link.error or "not connected yet")
    for text in silent:
        yield reported("broker_silent", "broker", text)
    if (warning := failpoint.warning()) is not None:
        yield reported("failpoints", "agent", warning)


def of_files(unapplied: AgentFault | None) -> Iterator[FaultReport]:
    """Yield what keeps the files of the configuration from being what runs."""
    if unapplied is not None:
        yield reported(unapplied.code, "configuration", unapplied.text)


def reported(code: str, about: str, text: str, *, critical: bool = False) -> FaultReport:
    """Return one fault with the remedy of its entry."""
    entry = explained(code)
    return FaultReport(code, about, text, "" if entry is None else entry.remedy, "critical" if critical else "warning")
