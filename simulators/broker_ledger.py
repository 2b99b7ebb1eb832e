"""What a broker was sent, one JSON object a line, on the disk before it is acknowledged.

``{"at": 12.5, "what": "publish", "client": "gw1", "link": 3, "topic": "...", "mid": 7, "qos": 1, "retain": false, "dup": false, "code": 0, "size": 24, "user":
[["id", "..."]], "payload": "..."}``; ``at`` is CLOCK_MONOTONIC in seconds, ``link`` counts connections, ``code`` is the reason code that was
meant for it (0x80 and above: refused), ``size`` the bytes of the packet, a payload that is no UTF-8 stands as ``payload64``. A line that a killed broker left torn was
never acknowledged, and is cut off by the next one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from simulators.mqtt_wire import USER, Message


class BrokerLedger:
    """Append-only. Lines are written at once and synced in groups by a thread; whoever waits is called in the order of writing."""

    def __init__(self, path: Path) -> None:
        cut_torn_line(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._waiting: list[Callable[[], None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self.published = 0
        self.syncs = 0

    def write(self, what: str, **about: Any) -> None:
        """Append a line; it outlives the process from now on, and a power cut from the next sync on."""
        line = json.dumps({"at": round(time.monotonic(), 6), "what": what, **about}, separators=(",", ":"), ensure_ascii=False)
        raw = memoryview(line.encode() + b"\n")
        while raw:
            raw = raw[os.write(self._fd, raw) :]

    def publish(self, message: Message, then: Callable[[], None], **about: Any) -> None:
        """Append a message and call ``then`` when it is on the disk."""
        self.published += 1
        try:
            payload = {"payload": message.payload.decode()}
        except UnicodeDecodeError:
            payload = {"payload64": base64.b64encode(message.payload).decode()}
        user = [pair for name, pair in message.properties if name == USER]
        self.write("publish", **about, topic=message.topic, qos=message.qos, retain=message.retain, user=user, **payload)
        self._waiting.append(then)
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            await asyncio.get_running_loop().run_in_executor(self._thread, os.fdatasync, self._fd)
            self.syncs += 1
            for then in group:
                then()
        self._syncing = None

    async def close(self) -> None:
        """Sync what waits and end the file."""
        if self._syncing is not None:
            await self._syncing
        self._thread.shutdown()
        os.close(self._fd)


def cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line end."""
    if path.exists():
        raw = path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole != len(raw):
            os.truncate(path, whole)


def payload_of(entry: dict[str, Any]) -> bytes:
    """Return the payload bytes of a publish line."""
    return entry["payload"].encode() if "payload" in entry else base64.b64decode(entry["payload64"])
