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
from edge_agent.model.instant import parse
from edge_agent.status.report import Status

OK, DEGRADED, NO_AGENT = 0, 1, 2


def status(directory: Path, *, as_json: bool) -> int:
    """Print the status and return the exit code. Raises EdgeAgentError when the agent may not be asked."""
    logs.configure("error")
    config = load(directory)
    desk = running(config, None)
    if desk is None:
        looked = ", ".join(str(place.absolute()) for place in sockets(config, None))
        print(f"no agent {config.agent.agent} is running (nobody listens on {looked})", file=sys.stderr)
        return NO_AGENT
    report = asyncio.run(desk.status())
    print(json_text(report) if as_json else "\n".join(_lines(report)))
    return OK if report.health == "ok" else DEGRADED


def _lines(report: Status) -> Iterator[str]:
    now = parse(report.time) / 1e9  # plant time: scaled in the demo
    yield f"agent    {report.agent} {report.version}, {report.health}, since {report.started} (process {report.process}, cfg {report.cfg})"
    for problem in report.problems:
        yield f"  ! {plain(problem)}"
    for warning in report.warnings:
        yield f"  ~ {plain(warning)}"
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
    yield from table(("unit", "state"), [(name, plain(state)) for name, state in report.units.items()])
    for link in report.links:
        if link.kind == "mqtt":
            yield f"broker   {link.name} {_word(link.up)} {plain(link.error or '')}".rstrip()
    sent = report.delivery
    waits = "" if sent.wait_p50 is None else f"; acknowledged in {sent.wait_p50:.1f} ms (p50), {sent.wait_p95:.1f} ms (p95)"
    yield f"sent     {many(sent.sent, 'record')} since the start, {sent.rejected:,} refused{waits}"
    yield from buffer_lines(report.buffer, now)


def _word(up: bool | None) -> str:
    return {True: "up", False: "down", None: "-"}[up]
