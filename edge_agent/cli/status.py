"""``edge-agent status``: what the running agent says of itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent import logs
from edge_agent.cli.reach import running, sockets
from edge_agent.cli.words import ago, buffer_lines, json_text, many, plain, table
from edge_agent.config.load import load
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.instant import parse
from edge_agent.status.report import Status, WorkerReport

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
"""Exit codes of monitoring plugins (Nagios, Checkmk, Icinga, Zabbix)."""

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def status(directory: Path, *, as_json: bool, brief: bool = False) -> int:
    """Print the status and return the exit code; ``brief`` is one line for a monitoring system, whatever goes wrong.

    Raises EdgeAgentError (not with ``brief``) when the agent may not be asked.
    """
    if not brief:
        return _status(directory, as_json=as_json, brief=False)
    try:
        return _status(directory, as_json=False, brief=True)
    except EdgeAgentError as error:
        print(f"UNKNOWN - {plain(str(error).splitlines()[-1])}")
        return UNKNOWN


def _status(directory: Path, *, as_json: bool, brief: bool) -> int:
    logs.configure("error")
    config = load(directory)
    desk = running(config, None)
    if desk is None and brief:
        print(f"CRITICAL - no agent {config.agent.agent} is running")
        return CRITICAL
    if desk is None:
        looked = ", ".join(str(place.absolute()) for place in sockets(config, None))
        print(f"no agent {config.agent.agent} is running (nobody listens on {looked})", file=sys.stderr)
        return CRITICAL
    report = asyncio.run(desk.status())
    print(_brief(report) if brief else json_text(report) if as_json else "\n".join(_lines(report)))
    return grade(report)


def grade(report: Status) -> int:
    """Return how bad it is: OK, WARNING (degraded, or something that wants a person soon) or CRITICAL (data is being lost, or soon will be)."""
    if report.health == "critical" or any(each.level == "critical" for each in report.faults):
        return CRITICAL
    return OK if report.health == "ok" and not report.faults else WARNING


def _brief(report: Status) -> str:
    """Return the one line of a monitoring plugin, with performance data behind the bar."""
    told = "; ".join(f"{each.code} {each.about}: {each.text}" for each in report.faults) or "; ".join(report.problems)
    up, count = sum(bool(each.up) for each in report.devices.values()), len(report.devices)
    buffer, now = report.buffer, parse(report.time)
    waiting, oldest = (
        buffer.waiting_events + buffer.waiting_telemetry,
        0 if buffer.oldest is None else (now - parse(buffer.oldest)) / 1e9,
    )
    said = plain(told or f"{up}/{count} devices, {many(waiting, 'record')} waiting").replace("|", "/")
    figures = f"devices_up={up};;;0;{count} waiting={waiting} oldest={max(0, oldest):.0f}s buffer={buffer.bytes}B sent={report.delivery.sent}c rejected={report.delivery.rejected}c"
    return f"{_WORDS[grade(report)]} - {report.agent}: {said} | {figures}"


def _lines(report: Status) -> Iterator[str]:
    now = parse(report.time) / 1e9  # plant time: scaled in the demo
    yield f"agent    {report.agent} {report.version}, {report.health}, since {report.started} (process {report.process}, cfg {report.cfg})"
    for problem in report.problems:
        yield f"  ! {plain(problem)}"
    for warning in report.warnings:
        yield f"  ~ {plain(warning)}"
    for code in dict.fromkeys(each.code for each in report.faults):
        where = ", ".join(each.about for each in report.faults if each.code == code)
        yield f"  -> {code} ({plain(where)}): {plain(next(each.remedy for each in report.faults if each.code == code))}"
    if report.faults:
        yield "     more: edge-agent explain CODE, docs/reference/faults.md"
    rows = [
        (
            name,
            each.driver,
            each.endpoint,
            _word(each.up),
            ago(each.last_good, now),
            plain(": ".join(filter(None, (each.fault, each.error)))),
        )
        for name, each in report.devices.items()
    ]
    yield from table(("device", "driver", "endpoint", "link", "last good", ""), rows)
    if report.workers:
        yield from table(("worker", "process", "state", "restarts", "devices"), [_worker(each) for each in report.workers])
    yield from table(("unit", "state"), [(name, plain(state)) for name, state in report.units.items()])
    for link in report.links:
        if link.kind == "mqtt":
            yield f"broker   {link.name} {_word(link.up)} {plain(link.error or '')}".rstrip()
    sent = report.delivery
    waits = "" if sent.wait_p50 is None else f"; acknowledged in {sent.wait_p50:.1f} ms (p50), {sent.wait_p95:.1f} ms (p95)"
    yield f"sent     {many(sent.sent, 'record')} since the start, {sent.rejected:,} refused{waits}"
    yield from buffer_lines(report.buffer, now)


def _worker(each: WorkerReport) -> tuple[str, ...]:
    process = "-" if each.process is None else str(each.process)
    return each.name, process, _word(each.up), str(each.restarts), ", ".join(each.devices)


def _word(up: bool | None) -> str:
    return {True: "up", False: "down", None: "-"}[up]
