"""Everything one MQTT client says and hears, one JSON object a line: ``python -m simulators.mqtt_recorder --listen P --broker HOST:PORT --file FILE``.

It stands between the client and any broker and passes bytes on unchanged. ``{"at": 12.5, "link": 1, "from": "client", "what": "publish", ...}``: ``at`` is
CLOCK_MONOTONIC in seconds, ``link`` counts connections. ``connect`` carries the will, ``subscribe`` its filters, ``publish`` topic, qos, retain and
``payload64``; ``connack``, ``disconnect``, ``pingreq`` and ``pingresp`` are noted, and ``end`` says who closed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from simulators import mqtt_wire as wire
from simulators.listening import stop_listening

_NAMES = {wire.CONNACK: "connack", wire.PINGREQ: "pingreq", wire.PINGRESP: "pingresp", wire.PUBACK: "puback", wire.SUBACK: "suback"}

_PATIENCE = 1.0
"""Seconds in which a client says its CONNECT."""


class Recorder:
    """A proxy on ``port`` that notes what it passes on."""

    def __init__(self, file: Path, broker: tuple[str, int]) -> None:
        self.port = 0
        self.broker = broker
        self._file: TextIO = file.open("a", encoding="utf-8")
        self._server: asyncio.Server | None = None
        self._links = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, host: str, port: int) -> None:
        """Accept clients; ``port`` becomes the real one."""
        self._server = await asyncio.start_server(self._accept, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            await stop_listening(self._server)
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._file.close()

    def cut(self) -> None:
        """Reset every connection: a cable that is pulled."""
        for writer in self._writers:
            writer.transport.abort()

    def note(self, link: int, who: str, what: str, **about: Any) -> None:
        """Write a line."""
        line = {"at": round(time.monotonic(), 6), "link": link, "from": who, "what": what, **about}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        self._links += 1
        link = self._links
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.broker)
        except OSError:
            await self._nobody(link, reader)
            writer.close()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        version = [wire.V5]
        try:
            ways = [
                asyncio.create_task(self._pass(link, "client", reader, far_writer, version)),
                asyncio.create_task(self._pass(link, "broker", far_reader, writer, version)),
            ]
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            self.note(link, "client" if ways[0] in done else "broker", "end")
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for each in (writer, far_writer):
                self._writers.discard(each)
                each.close()
            if task is not None:
                self._tasks.discard(task)

    async def _nobody(self, link: int, reader: asyncio.StreamReader) -> None:
        """Note what a client says that no broker answers: its CONNECT was one, and numbers go on from it."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                first = (await reader.readexactly(1))[0]
                length, _ = await wire.read_length(reader)
                self._say(link, "client", first, await reader.readexactly(length), [wire.V5])
        self.note(link, "broker", "end")

    async def _pass(
        self, link: int, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, version: list[int]
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = (await reader.readexactly(1))[0]
                length, used = await wire.read_length(reader)
                body = await reader.readexactly(length)
                self._say(link, who, first, body, version)
                writer.write(bytes([first]) + _length(length, used) + body)
                await writer.drain()

    def _say(self, link: int, who: str, first: int, body: bytes, version: list[int]) -> None:
        kind = first >> 4
        if kind == wire.CONNECT:
            said = wire.read_connect(body)
            version[0] = said.version
            self.note(link, who, "connect", **_connect(said))
        elif kind == wire.PUBLISH:
            message, _, dup = wire.read_publish(first, body, version[0])
            about = {"qos": message.qos, "retain": message.retain, "dup": dup, "payload64": _text(message.payload)}
            self.note(link, who, "publish", topic=message.topic, **about)
        elif kind == wire.SUBSCRIBE:
            _, wanted = wire.read_subscribe(body, version[0])
            self.note(link, who, "subscribe", filters=[[each.filter, each.qos] for each in wanted])
        elif kind == wire.DISCONNECT:
            code = wire.read_disconnect(body)[0] if version[0] == wire.V5 else 0
            self.note(link, who, "disconnect", code=code)
        elif kind in _NAMES:
            self.note(link, who, _NAMES[kind], **({"code": body[1]} if kind == wire.CONNACK else {}))


def _connect(said: wire.Connect) -> dict[str, Any]:
    will = said.will
    return {
        "client": said.client,
        "version": said.version,
        "clean": said.clean,
        "expiry": wire.value(said.properties, wire.SESSION_EXPIRY) or 0,
        "will": None
        if will is None
        else {
            "topic": will.topic,
            "qos": will.qos,
            "retain": will.retain,
            "delay": will.value(wire.WILL_DELAY) or 0,
            "payload64": _text(will.payload),
        },
    }


def _text(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def _length(value: int, used: int) -> bytes:
    """Return a Remaining Length in as many bytes as it came in."""
    return bytes((value >> 7 * place & 127) | (128 if place + 1 < used else 0) for place in range(used))


async def _serve(listen: int, broker: str, file: Path, ready: Callable[[str], None]) -> None:
    host, _, port = broker.rpartition(":")
    recorder = Recorder(file, (host, int(port)))
    await recorder.listen("127.0.0.1", listen)
    ready(f"recorder ready on 127.0.0.1:{recorder.port}")
    try:
        await asyncio.Event().wait()
    finally:
        await recorder.close()


def main() -> None:
    """Record until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m simulators.mqtt_recorder", description="Notes what an MQTT client says and hears."
    )
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--broker", required=True, metavar="HOST:PORT")
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.listen, options.broker, options.file, lambda text: print(text, flush=True)))


if __name__ == "__main__":
    main()
