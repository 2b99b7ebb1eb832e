"""The recorder between an edge node and its broker: what is said to nobody counts, too."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from simulators.mqtt_recorder import Recorder

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
"""A client called ``a``, MQTT 3.1.1, clean session, no will."""


async def test_a_connect_that_no_broker_answers_is_noted(tmp_path: Path) -> None:
    """An edge node's bdSeq goes on with each CONNECT: a judge who misses one takes the next for a jump."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        recorder = Recorder(tmp_path / "r.jsonl", nobody.getsockname())
        await recorder.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", recorder.port)
        writer.write(CONNECT)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["link"], line["from"], line["what"]) for line in lines] == [(1, "client", "connect"), (1, "broker", "end")]
    assert lines[0]["client"] == "a"
