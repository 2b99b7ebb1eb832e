"""``edge-agent tail``: events as they leave, from the running agent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent import logs
from edge_agent.cli.reach import running
from edge_agent.cli.words import many, plain
from edge_agent.config.load import load
from edge_agent.model.errors import EdgeAgentError

_LONGEST = 160
"""Characters of an event's data in one line."""

_ALWAYS = frozenset({"epoch", "seq", "cfg", "late", "q", "ts", "ctx"})
"""What every event carries, and a person seldom looks for."""


class Wish(NamedTuple):
    """What is to be shown: patterns of types, streams (units), a text that must occur, telemetry too, how many."""

    types: Sequence[str] = ()
    units: Sequence[str] = ()
    text: str | None = None
    telemetry: bool = False
    most: int | None = None


def tail(directory: Path, wish: Wish, *, as_json: bool) -> int:
    """Print what leaves until Ctrl-C or the agent's end; return the exit code. Raises EdgeAgentError when no agent runs."""
    logs.configure("error")
    config = load(directory)
    desk = running(config, None)
    if desk is None:
        raise EdgeAgentError(f"no agent {config.agent.agent} is running; start it: systemctl start edge-agent, or edge-agent run")
    for number, departure in enumerate(wanted(desk.tail(), wish), 1):
        print(json.dumps(departure["event"]) if as_json else line(departure, config.agent.events.type_prefix), flush=True)
        if number == wish.most:
            return 0
    print("the agent has ended", file=sys.stderr)
    return 1


def wanted(lines: Iterator[bytes], wish: Wish) -> Iterator[dict[str, Any]]:
    """Yield the departures that fit."""
    for row in lines:
        if not row:
            continue
        departure = json.loads(row)
        if "missed" in departure:
            print(f"({many(departure['missed'], 'record')} left too fast to be shown)", file=sys.stderr)
        elif fits(departure, row, wish):
            yield departure


def fits(departure: dict[str, Any], row: bytes, wish: Wish) -> bool:
    """Whether somebody who asks for ``wish`` wants to see it."""
    if departure["kind"] == "T" and not wish.telemetry:
        return False
    if wish.units and departure["stream"].partition("/telemetry")[0] not in wish.units:
        return False
    type_ = departure["event"]["type"]
    if wish.types and not any(_named(type_, pattern) for pattern in wish.types):
        return False
    return wish.text is None or wish.text.encode() in row


def _named(type_: str, pattern: str) -> bool:
    """Whether ``edgeagent.production.count.v1`` is meant by ``production.count``, ``production.*`` or the whole."""
    return any(fnmatchcase(type_, each) for each in (pattern, f"*.{pattern}", f"*.{pattern}.v*"))


def line(departure: dict[str, Any], prefix: str) -> str:
    """Return one line for people: time, stream, number, type, what it says."""
    event = departure["event"]
    data = event["data"]
    name = event["type"].removeprefix(f"{prefix}.").rpartition(".v")[0] or event["type"]
    told = " ".join(f"{key}={_value(value)}" for key, value in data.items() if key not in _ALWAYS and value is not None)
    again = " (again)" if departure["resent"] else ""
    text = told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."
    return plain(
        f"{event['time'][11:23]} {departure['stream']} #{data['seq']} {name}{again} {text} [{departure['wait_ms']:.1f} ms]"
    )


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
