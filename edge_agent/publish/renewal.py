"""Reasons to give a working connection up: certificates that were replaced on the disk, or a better broker that is back.

A connection is given up only for one that will work as far as can be seen: files must load and belong together, a broker must answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.tls import tls_context
from edge_agent.publish import tls
from edge_agent.publish.address import Broker
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.dial import beside
from edge_agent.publish.memory import Memory
from edge_agent.publish.route import Wire, open_wire

_LOOK = 5.0
"""Machine seconds between two looks at the files."""

_LONGEST = 3600.0
"""Machine seconds between two looks for a better broker at most."""

_log = structlog.get_logger()

Seen = tuple[tuple[int, int, int] | None, ...]


def seen(files: Sequence[Path]) -> Seen:
    """Return what tells the files' present content from any other: inode, size and time of change, through symbolic links."""
    return tuple(_seen(file) for file in files)


def _seen(file: Path) -> tuple[int, int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


async def files_replaced(config: MqttConfig, before: Seen) -> str:
    """Return, in words, when the files differ from ``before``, have settled, and can be used."""
    files = config.files
    latest, complained = before, before
    while True:
        await asyncio.sleep(_LOOK)
        now = seen(files)
        settled, latest = now == latest, now
        if now == before or not settled:  # unchanged, or perhaps half written
            continue
        try:
            await asyncio.to_thread(_try_out, config)
        except DisconnectedError as error:
            if complained != now:
                complained = now
                _log.warning("mqtt.files_unusable", reason=str(error), meaning="the connection stays as it is")
            continue
        return "certificates or password were replaced"


def _try_out(config: MqttConfig) -> None:
    if config.tls is not None:
        tls_context(config.tls)
    if config.password_file is not None:
        tls.password(config.password_file)


async def better_broker(config: MqttConfig, place: int, memory: Memory) -> str:
    """Return, in words, when a broker before ``place`` answers again; its turn is then noted. Looks less and less often."""
    if place == 0 or config.return_after == "never":
        return await asyncio.Event().wait() and ""
    pause = config.return_after / 1e9
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST)
        for earlier in memory.order.better(place, clock()):
            broker = config.brokers[earlier]
            if await _answers(broker, config, memory):
                memory.order.back(earlier)
                return f"{broker.where} is back"


async def _answers(broker: Broker, config: MqttConfig, memory: Memory) -> bool:
    """Open the way to a broker (TCP, proxy, TLS, WebSocket) without speaking MQTT, which could end our own session there."""
    wires: list[Wire] = []
    seconds = config.connect_timeout / 1e9

    def hang_up() -> None:
        for wire in wires:
            wire.close()

    try:
        async with asyncio.timeout(seconds):
            await beside(lambda: wires.append(open_wire(broker, config.tls, memory.names, seconds)), hang_up)
    except (OSError, ValueError, DisconnectedError):
        return False
    hang_up()
    return True
