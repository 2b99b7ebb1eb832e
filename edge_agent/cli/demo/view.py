"""What a person sees while the demo plays: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_agent.cli.demo.play import Play
from edge_agent.cli.demo.stage import Stage

_LINE_EVERY = 5.0
COMMAND_BEGAN = "EDGE_AGENT_DEMO_BEGAN"
"""What dev.py hands over: the machine time (``time.monotonic``, which counts for all processes) at which it was called, before its set-up."""


class View:
    """Shows a play."""

    def __init__(self, stage: Stage, play: Play, *, once: bool, began: float) -> None:
        """Show ``play``; ``began`` is the machine time at which the command was given."""
        self._stage, self._play, self._once, self._began = stage, play, once, began
        self._console = Console()
        self._live: Live | None = None
        self._line_at = 0.0
        self._first: str | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the view while the context is open."""
        if not self._console.is_terminal:
            print(f"{self._stage.scenario.name} at speed {self._stage.speed:g}: {self._stage.length:g} plant seconds", flush=True)
            print(f"status page: {self._stage.page}", flush=True)
            yield
            return
        with Live(self._picture(), console=self._console, refresh_per_second=4, screen=not self._once) as self._live:
            yield
        self._live = None

    @contextlib.contextmanager
    def keys(self) -> Iterator[None]:
        """Read single keys from the terminal and hand them to the play."""
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        loop = asyncio.get_running_loop()
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, lambda: self._play.key(sys.stdin.read(1)))
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def update(self) -> None:
        """Show what is known now."""
        if self._first is None and self._play.progress.get("applied"):
            self._first = first_event(time.monotonic(), self._began, os.environ.get(COMMAND_BEGAN))
            if self._live is None:
                print(self._first, flush=True)
        if self._live is not None:
            self._live.update(self._picture())
        elif self._play.progress and time.monotonic() - self._line_at > _LINE_EVERY:
            self._line_at = time.monotonic()
            print(self._plain(), flush=True)

    def _plain(self) -> str:
        p = self._play.progress
        totals = " ".join(f"{name}={value}" for name, value in (p.get("totals") or {}).items())
        return (
            f"t={self._stage.plant_time():7.1f} s  {_state(p):<12} order={p.get('order') or '-'} {totals}  "
            f"events={p.get('applied', 0)} lost={p.get('lost', 0)} duplicates={p.get('duplicates', 0)}  {self._play.says}"
        )

    def _picture(self) -> Group:
        p = self._play.progress
        parts: list[Any] = [Panel(self._head(), title="edge-agent demo", title_align="left")]
        parts += [self._devices(p), self._line(p), self._delivery(p), self._ticker(p)]
        if not self._once:
            parts.append(
                Text(f"b broker   p PLC link   k kill -9 the agent   q quit      status page: {self._stage.page}", style="dim")
            )
        return Group(*parts)

    def _head(self) -> Text:
        first = f"   {self._first}" if self._first is not None else ""
        done = min(1.0, self._stage.plant_time() / self._stage.length)
        bar = "█" * int(done * 40) + "░" * (40 - int(done * 40))
        return Text(
            f"{bar} {self._stage.plant_time():6.0f} / {self._stage.length:g} s   x{self._stage.speed:g}   {self._play.says}{first}"
        )

    def _devices(self, p: dict[str, Any]) -> Table:
        table = _table("device", "link", "last good value", "why")
        for name, device in (p.get("devices") or {}).items():
            up = device["up"]
            table.add_row(
                name,
                Text("up" if up else "down", style="green" if up else "red"),
                str(device["last_good"] or "-"),
                device["error"] or "",
            )
        return table

    def _line(self, p: dict[str, Any]) -> Table:
        table = _table("unit", "state", "order", *(p.get("totals") or {}))
        table.add_row(
            "filler" if self._stage.script["version"] == 1 else self._stage.script["name"],
            _state(p),
            p.get("order") or "-",
            *(str(v) for v in (p.get("totals") or {}).values()),
        )
        return table

    def _delivery(self, p: dict[str, Any]) -> Table:
        table = _table(
            "broker", "agent", "events", "lost", "duplicates removed", "asked again", "gaps declared", "p50 ms", "p95 ms"
        )
        values = [p.get(k) for k in ("applied", "lost", "duplicates", "resends", "gaps", "p50_ms", "p95_ms")]
        up = bool(p.get("connected")) and self._stage.runs("broker")
        table.add_row("up" if up else "down", self._agent(p, broker=up), *("-" if v is None else str(v) for v in values))
        return table

    def _agent(self, p: dict[str, Any], *, broker: bool) -> str:
        """Return how the agent is: its process is ours to see, the rest the broker tells, the last will 10 s after a death."""
        if not self._stage.runs("agent"):
            return "killed"
        return str(p.get("agent") or "-") if broker else "runs, not heard"

    def _ticker(self, p: dict[str, Any]) -> Table:
        table = _table("t (s)", "event", "")
        for event in reversed((p.get("events") or [])[-10:]):
            table.add_row(f"{event['t']:.2f}", event["type"], event["data"])
        return table


def first_event(now: float, began: float, handed: str | None) -> str:
    """Say how long the first event took since the demo began, and since dev.py was called where it ``handed`` its instant over."""
    words = f"first event after {now - began:.1f} s"
    try:
        called = float(handed or "nan")
    except ValueError:
        return words
    return f"{words} ({now - called:.1f} s with the set-up)" if 0 <= called <= began else words


def _state(p: dict[str, Any]) -> str:
    return str((p.get("state") or {}).get("name", "-"))


def _table(*headings: str) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading)
    return table
