"""``edge-agent peek``: what could stand in some registers of a Modbus device, most likely first, as tags to copy. Only reads."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from edge_agent import logs
from edge_agent.agent.clock import WallClock
from edge_agent.cli.peekview import Peeked, document, lines
from edge_agent.cli.progress import Progress
from edge_agent.config.source import read as read_source
from edge_agent.config.words import words
from edge_agent.drivers.modbus.candidates import candidates
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.field import Area, is_bits
from edge_agent.drivers.modbus.plausible import Expected, Ranked, expected, rank
from edge_agent.drivers.modbus.printed import Asked, asked
from edge_agent.model.errors import ConfigError
from edge_agent.model.instant import NS
from edge_agent.model.quantity import duration

_URL: Final = re.compile(r"(?:modbus-(?:tcp|rtu-tcp|ascii-tcp)://)?(\[[0-9A-Fa-f:.%]+\]|[^:/\s]+)(?::([0-9]+))?/?")
_PLACEHOLDER: Final = {"tags": {"placeholder": {"register": "holding", "address": 1}}}


class Wish(NamedTuple):
    """What a user asked for."""

    target: str
    register: Sequence[str]
    expect: str | None = None
    area: Area | None = None
    base: int | None = None
    unit_id: int | None = None
    reads: int = 3
    every: str = "1s"
    timeout: str | None = None
    tolerance: float = 2.0
    top: int = 8
    name: str | None = None
    framing: str | None = None
    baud: int | None = None
    parity: str | None = None


def peek(wish: Wish, *, as_json: bool) -> int:
    """Print what the registers could be; return 0, or 1 when the expected value is not there. Raises EdgeAgentError."""
    from edge_agent.drivers.modbus.peek import look

    logs.configure("error")
    config = _config(wish)
    try:
        at = asked(wish.register, wish.area, config.address_base if wish.base is None else wish.base)
        every = duration(wish.every) / NS
    except ValueError as error:
        raise ConfigError(str(error)) from None
    progress = Progress()
    try:
        seen = asyncio.run(look(config, at, wish.reads, every, WallClock(), progress))
    finally:
        progress.done()
    expect = expected(wish.expect, wish.tolerance / 100) if wish.expect is not None else None
    ranked = _ranked(at, seen.first, seen.reads, expect)
    peeked = Peeked(config, at, seen, ranked, wish.expect, wish.name, every)
    print(json.dumps(document(peeked, wish.top), indent=2) if as_json else "\n".join(lines(peeked, wish.top)))
    return int(expect is not None and not any(one.matches for one in ranked))


def _ranked(at: Asked, first: int, reads: Sequence[bytes], expect: Expected | None) -> list[Ranked]:
    """Rank what starts at the register, or at each of those asked for; those around them when a value is expected, which tells where it is."""
    if is_bits(at.area):
        return []
    end = first + len(reads[0]) // 2
    own = range(at.address, min(at.address + at.many, end) if at.counted else at.address + 1)
    ranked = rank(candidates(first, reads, own if expect is None else range(first, end)), at.address, expect)
    return [one for one in ranked if one.matches] or ranked


def _config(wish: Wish) -> ModbusConfig:
    """Return where to connect: the device of a file, or a host with what devices mostly are."""
    if Path(wish.target).is_file():
        source = read_source(Path(wish.target))
        if source.problems or not isinstance(source.data, dict):
            raise ConfigError("\n".join(map(str, source.problems)) or f"{wish.target} is no device file")
        if source.data.get("driver") != "modbus":
            raise ConfigError(f"{wish.target} is no Modbus device; `edge-agent browse` looks into OPC UA servers")
        data = {key: value for key, value in source.data.items() if key not in {"tags", "tags_from"}}
    else:
        data = (
            {"version": 1, "device": "peek", "driver": "modbus"}
            | _place(wish.target)
            | ({"address_base": wish.base} if wish.base else {})
        )
    for key in ("unit_id", "timeout", "framing", "baud", "parity"):
        if (value := getattr(wish, key)) is not None:
            data[key] = value
    try:
        return ModbusConfig.model_validate(data | _PLACEHOLDER)
    except ValidationError as error:
        raise ConfigError(_words(error)) from None


def _place(target: str) -> dict[str, Any]:
    if target.startswith("/") or re.fullmatch(r"COM[0-9]+", target):
        return {"serial": target}
    match = _URL.fullmatch(target)
    if match is None:
        raise ConfigError(f"{target!r} is no Modbus device; write a host, host:port, a serial port, or a device file")
    host, port = match.groups()
    return {"host": host.strip("[]")} | ({"port": int(port)} if port else {})


def _words(error: ValidationError) -> str:
    told = [words(dict(one), ()) for one in error.errors(include_url=False)]
    return "\n".join(f"{message}; {remedy}" if remedy else message for message, remedy in told)
