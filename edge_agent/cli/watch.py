"""``edge-agent watch``: the running agent on a terminal, redrawn every second; plain lines where there is none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_agent import logs
from edge_agent.cli.reach import running
from edge_agent.cli.status import CRITICAL, OK, grade
from edge_agent.cli.tail import Wish, line, wanted
from edge_agent.cli.words import ago, many, plain, size
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.instant import parse
from edge_agent.status.client import RemoteDesk
from edge_agent.status.report import Status

_COLOURS = ("green", "yellow", "red")
_EVENTS = 12


def watch(directory: Path, *, every: float, count: int | None) -> int:
    """Show the agent until Ctrl-C, or ``count`` times; return the exit code of its last state. An agent that is away is waited for."""
    logs.configure("error")
    config = load(directory)
    console = Console()
    ticker = _Ticker(config)
    ticker.start()
    code = CRITICAL
    with Live(console=console, screen=True, auto_refresh=False) if console.is_terminal else _Lines() as live:
        for number in range(1 << 62):
            report = _asked(config)
            code = CRITICAL if report is None else grade(report)
            live.update(picture(report, config.agent.agent, ticker.lines) if console.is_terminal else told(report), refresh=True)
            if number + 1 == count:
                break
            time.sleep(every)
    return code


def _asked(config: AgentConfig) -> Status | None:
    try:
        desk = running(config, None)
        return None if desk is None else asyncio.run(desk.status())
    except EdgeAgentError:
        return None


class _Lines:
    """Stands for a live display where output is a file or a pipe."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, text: Any, *, refresh: bool) -> None:
        """Print one line."""
        print(text, flush=refresh)


class _Ticker(threading.Thread):
    """Listens to what leaves, in a thread that ends with the process."""

    def __init__(self, config: AgentConfig) -> None:
        super().__init__(daemon=True, name="ticker")
        self._config = config
        self.lines: deque[str] = deque(maxlen=_EVENTS)

    def run(self) -> None:
        """Go on until the process ends; an agent that is away is asked again each second."""
        while True:
            try:
                desk: RemoteDesk | None = running(self._config, None)
                for departure in wanted(iter(()) if desk is None else desk.tail(), Wish()):
                    self.lines.append(line(departure, self._config.agent.events.type_prefix))
            except EdgeAgentError:
                pass  # the picture says that the agent is away
            time.sleep(1)


def told(report: Status | None) -> str:
    """Return one line for a file or a pipe."""
    if report is None:
        return "no agent is running"
    up = sum(bool(each.up) for each in report.devices.values())
    waiting = report.buffer.waiting_events + report.buffer.waiting_telemetry
    said = "; ".join(plain(f"{each.code} {each.about}") for each in report.faults)
    return f"{report.time} {report.health} devices={up}/{len(report.devices)} sent={report.delivery.sent} waiting={waiting} {said}".rstrip()


def picture(report: Status | None, agent: str, events: deque[str]) -> Group:
    """Return what a terminal shows."""
    if report is None:
        return Group(
            Panel(Text(f"no agent {agent} is running; waiting for it", style="red"), title="edge-agent watch", title_align="left")
        )
    now = parse(report.time) / 1e9
    state = grade(report)
    head = Text.assemble(
        (report.health if state == OK or report.health != "ok" else "wants a person", f"bold {_COLOURS[state]}"),
        f"   {report.agent} {report.version}   since {report.started[:19]}   cfg {report.cfg}",
    )
    parts: list[Any] = [
        Panel(head, title="edge-agent watch", title_align="left"),
        _devices(report, now),
        _units(report),
        _delivery(report, now),
    ]
    if report.faults:
        parts.append(_faults(report))
    parts += [Text(each, no_wrap=True, overflow="ellipsis", style="dim") for each in reversed(events)]
    return Group(*parts)


def _devices(report: Status, now: float) -> Table:
    table = _table("device", "driver", "link", "last good", "why")
    for name, each in report.devices.items():
        link = Text("up", style="green") if each.up else Text("-" if each.up is None else "down", style="red")
        table.add_row(name, each.driver, link, ago(each.last_good, now), plain(each.error or ""))
    return table


def _units(report: Status) -> Table:
    table = _table("unit", "state")
    for name, state in report.units.items():
        table.add_row(name, Text(plain(state), style="green" if state == "ok" else "red"))
    return table


def _delivery(report: Status, now: float) -> Table:
    table = _table("broker", "sent", "refused", "waiting", "oldest", "on disk", "p50", "p95")
    up = any(link.up for link in report.links if link.kind == "mqtt")
    sent, buffer = report.delivery, report.buffer
    waits = [f"{wait:.1f} ms" if wait is not None else "-" for wait in (sent.wait_p50, sent.wait_p95)]
    waiting = f"{buffer.waiting_events:,} + {buffer.waiting_telemetry:,}"
    table.add_row(
        Text("up" if up else "down", style="green" if up else "red"),
        f"{sent.sent:,}", f"{sent.rejected:,}", waiting, ago(buffer.oldest, now), size(buffer.bytes), *waits,
    )  # fmt: skip
    return table


def _faults(report: Status) -> Table:
    table = _table(many(len(report.faults), "fault"), "of", "what", "do")
    for each in report.faults:
        colour = "red" if each.level == "critical" else "yellow"
        table.add_row(Text(each.code, style=colour), plain(each.about), plain(each.text), plain(each.remedy))
    return table


def _table(*headings: str) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading)
    return table
