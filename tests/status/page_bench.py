"""A view without an agent, served as the agent serves its own, and a client that says exactly what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Route

from edge_agent.status.config import WebConfig
from edge_agent.status.guard import own_names
from edge_agent.status.listen import Patience, listening
from edge_agent.status.pagereport import HistoryReport, Moment, TagCounts, TagReport, TagsHead, TagsWish
from edge_agent.status.report import BufferReport, DeliveryReport, DeviceReport, FaultReport, LinkReport, Status
from edge_agent.status.token import Token
from edge_agent.status.web import web_application

NOW = "2026-10-25T04:00:00.000000Z"
BUFFER = BufferReport("/b", "E" * 26, True, "", 3, 1, NOW, 4096, 1, [])
FAULT = FaultReport("device_down", "device plc1", "no route to host", "Mend the network.", "warning")
STATUS = Status(
    "degraded", ["device plc1: no route to host"], "gw1", "0.1.0", "s", 1, NOW, NOW, "c",
    {"plc1": DeviceReport("modbus", "modbus-tcp://10.0.0.6:502", False, False, NOW, "no route to host")}, {"filler": "ok"},
    [LinkReport("mqtts://broker:8883", "mqtt", True, None, 1)], DeliveryReport(7, 0, 0.1, 1.5, 9.5), BUFFER, [], [FAULT],
)  # fmt: skip
LEFT = {"acknowledged": NOW, "wait_ms": 1.5, "stream": "filler", "kind": "E", "resent": False}
LEFT |= {"event": {"type": "edgeagent.production.count.v1", "time": NOW, "data": {"counter": "total", "delta": 1}}}


def tag(number: int) -> TagReport:
    """Return one of many tags."""
    return TagReport(f"plc1.t{number:04d}", "plc1", f"t{number:04d}", number, None, "CEL", "good", NOW, "source", None, None)


class FakeView:
    """Shows constants."""

    def __init__(self, tags: Sequence[TagReport] = ()) -> None:
        """Show ``tags``."""
        self.shown = list(tags)
        self.wishes: list[TagsWish] = []
        self.piece = json.dumps(LEFT).encode() + b"\n"
        self.over = asyncio.Event()

    async def status(self) -> Status:
        """Return a constant."""
        return STATUS

    def tags(self, wish: TagsWish) -> tuple[TagsHead, Sequence[TagReport]]:
        """Return everything the first time."""
        self.wishes.append(wish)
        count = len(self.shown)
        whole = wish.since < 5
        return TagsHead(5, NOW, TagCounts(count, count, 0, 0, 0), whole=whole), self.shown if whole else []

    def history(self) -> HistoryReport:
        """Return one moment."""
        return HistoryReport(5.0, [Moment(NOW, 7, 4, 4096)])

    async def departures(self) -> AsyncIterator[bytes]:
        """Yield one piece again and again until it is over."""
        yield b"\n"
        while not self.over.is_set():
            yield self.piece
            await asyncio.sleep(0.02)


@asynccontextmanager
async def served(
    view: FakeView, config: WebConfig | None = None, patience: Patience | None = None, more: Sequence[Route] = ()
) -> AsyncIterator[int]:
    """Serve ``view``, and ``more`` behind its guard; gives the port."""
    config = config or WebConfig(listen="127.0.0.1:0")
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    token = None if config.token_file is None else Token(config.token_file)
    async with listening(
        lambda: web_application(view, names=own_names(config.names), token=token, more=more), config, patience, address.set_result
    ):
        try:
            yield int((await address).rstrip("/").rpartition(":")[2])
        finally:
            view.over.set()


async def say(port: int, request: bytes, *, most: int = -1) -> tuple[int, dict[str, str], bytes]:
    """Send ``request`` as it is and return status, headers and body; an answer without end is read to ``most`` bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(most) if most >= 0 else await reader.read()
    finally:
        writer.close()
    return int(head[0].split()[1]), headers, body


async def get(port: int, path: str, *more: str, host: str = "localhost", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Ask for ``path`` once."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *more]
    return await say(port, ("\r\n".join(lines) + "\r\n\r\n").encode())


def body_of(answer: tuple[int, dict[str, str], bytes]) -> Any:
    """Return the JSON of an answer, whether it came in chunks or not (RFC 9112, 7.1)."""
    _, headers, body = answer
    if headers.get("transfer-encoding") != "chunked":
        return json.loads(body)
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return json.loads(whole)
