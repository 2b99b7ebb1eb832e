"""``edge-agent plan``: what the polls of the Modbus devices ask of their connections, and whether their time is enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent.cli.words import json_text, many, table
from edge_agent.config.load import load
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.load import Load, loads
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.model.instant import MS
from edge_agent.model.quantity import duration, duration_text

_HEAD = ("DEVICE", "UNIT", "EVERY", "TAGS", "REQUESTS", "BYTES", "TIME", "SHARE")


def plan(directory: Path, device: str | None, answer: str, *, blocks: bool, as_json: bool) -> int:
    """Print the plan of every Modbus connection, or of the one of ``device``; return the exit code."""
    try:
        assumed = duration(answer)
    except ValueError as error:
        raise ConfigError(f"--answer: {error}") from error
    configs = load(directory).devices
    if device is not None and device not in {config.device for config in configs}:
        raise ConfigError(f"there is no device {device}; there are: {', '.join(sorted(config.device for config in configs))}")
    modbus = [config for config in configs if isinstance(config, ModbusConfig)]
    told = [one for one in loads(modbus, assumed) if device is None or device in {poll.device for poll in one.polls}]
    if device is not None and not told:
        raise EdgeAgentError(f"{device} is no Modbus device; only those are polled")
    if as_json:
        print(json_text([_document(one) for one in told]))
    else:
        print("\n\n".join("\n".join(_lines(one, blocks=blocks)) for one in told) or "no Modbus device is configured")
        if others := len(configs) - len(modbus):
            print(f"\n{many(others, 'other device')} not listed: only Modbus is polled in requests that can be planned")
    problems = [problem for one in told for problem in one.problems]
    for problem in problems:
        print(f"cannot hold: {problem}", file=sys.stderr)
    return int(bool(problems))


def _lines(one: Load, *, blocks: bool) -> Iterator[str]:
    polls = one.polls
    yield f"{one.endpoint}{'' if one.line is None else f' ({one.line})'}"
    rows = [
        (
            poll.device, str(poll.unit_id), duration_text(poll.period), f"{poll.tags:,}", str(poll.requests), f"{poll.bytes:,}",
            f"{poll.seconds * 1000:.1f} ms", f"{poll.share:.1%}",
        )
        for poll in polls
    ]  # fmt: skip
    yield from (f"  {line}" for line in table(_HEAD, rows))
    if blocks:
        yield from (f"  {poll.device} every {duration_text(poll.period)}: {', '.join(poll.blocks)}" for poll in polls)
    a_second = sum(poll.requests / (poll.period / 1e9) for poll in polls)
    bytes_a_second = sum(poll.bytes / (poll.period / 1e9) for poll in polls)
    yield f"  together {a_second:.1f} requests/s, {bytes_a_second:,.0f} bytes/s, {one.share:.1%} of the time"
    counted = "the bytes at that speed and the silence between them, and" if one.line is not None else "no time for the bytes, but"
    yield f"  counted: {counted} {one.answer / MS:g} ms an answer for device and network (assumed; --answer)"
    yield from _worst(one)


def _worst(one: Load) -> Iterator[str]:
    if (dead := one.dead) is None:
        return
    how = f"timeout {dead.timeout:g} s, {dead.confirm:.2g} s to be sure"
    if dead.drain:
        how += f", {dead.drain:.2g} s until the line is believed again"
    yield (
        f"  one unit dead: {dead.once:.3g} s once (worst: {dead.device}; {how}), then its probes take at most {dead.share:.1%} of the time; "
        f"together {one.share + dead.share:.1%}"
    )
    short = sorted({poll.device for poll in one.polls if poll.device != dead.device and poll.period / 1e9 < dead.longest})
    if short:
        yield f"    until it is noticed, polls are left out, as a declared gap, of: {', '.join(short)}; a shorter timeout of {dead.device} spares them"


def _document(one: Load) -> dict[str, object]:
    return {
        "endpoint": one.endpoint,
        "line": one.line,
        "assumed_answer_seconds": one.answer / 1e9,
        "polls": [
            {
                "device": poll.device, "unit_id": poll.unit_id, "period_seconds": poll.period / 1e9, "tags": poll.tags,
                "requests": poll.requests, "bytes": poll.bytes, "seconds": round(poll.seconds, 6), "share": round(poll.share, 6),
                "blocks": poll.blocks,
            }
            for poll in one.polls
        ],
        "share": round(one.share, 6),
        "one_dead": None
        if one.dead is None
        else {
            "device": one.dead.device, "timeout_seconds": one.dead.timeout, "confirm_seconds": round(one.dead.confirm, 6),
            "drain_seconds": round(one.dead.drain, 6), "share": round(one.dead.share, 6),
        },
        "problems": one.problems,
    }  # fmt: skip
