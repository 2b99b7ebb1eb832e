"""An OPC UA server that costs little: ``python -m benchmarks.source_opcua --tags N [--rate HZ] [--polled] [--changing PERCENT] [--secure]``.

Notifications and read responses are encoded once and only patched. Every tag counts: ``i12`` (Int64) and ``f12`` (Double) hold number 12
above and the running number of the sample below, from 0 on, so that whoever gets the samples sees a lost, repeated, swapped or invented one.

* subscribed: nothing is sampled before all N tags are monitored; from then on every tag at the rate, one notification for every 1,000 samples.
  What cannot be published waits, and ``{"waiting": n}`` says how much
* ``--polled``: subscriptions are refused; every Read of registered nodes counts on, with ``--changing`` only so many percent of the tags

Prints one line ``{"port": ..., "thumbprint": ...}`` and then, for every line on its standard input, its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from benchmarks.source_ua_browse import BROWSE_NAME, browse_name, upwards
from benchmarks.source_ua_channel import Channel
from benchmarks.source_ua_session import Certificate, created, endpoint
from benchmarks.source_ua_state import Source
from benchmarks.source_ua_wire import Block, Cursor, counted, number_of, octets, response, ticks, u32
from benchmarks.standing import until_told

NAMESPACE = 1
MOST = 1000
UNSUPPORTED, NODE_UNKNOWN = 0x800B0000, 0x80340000
NOTHING = u32(0)


class Link(Channel):
    """One connection, with at most one session and one subscription."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.certificate)
        self.source = source
        self._services: dict[int, tuple[Callable[..., bytes | None], int]] = {
            428: (self._endpoints, 431), 461: (self._create_session, 464), 467: (self._activate, 470), 473: (self._close, 476),
            527: (self._browse, 0), 560: (self._register, 563), 631: (self._read, 634), 751: (self._create_items, 754),
            787: (self._subscribe, 790), 826: (self._publish, 829), 847: (self._forget, 850),
        }  # fmt: skip
        self._names: list[str] = []
        self._reads: dict[bytes, tuple[Block, bytes, list[int]]] = {}
        self._waiting: deque[tuple[int, int, int]] = deque()
        self.ready: deque[bytes] = deque()
        self._items: list[tuple[str, int]] = []
        self._blocks: list[Block] = []
        self._sequence, self._interval, self._keep_alive = 0, 0.1, 10
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of a client."""
        super().connection_made(transport)
        self.source.links.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self.source.links.discard(self)
        if self._task is not None:
            self._task.cancel()

    def serve(self, request: int, body: bytes) -> None:
        """Do what is asked for."""
        cursor = Cursor(body)
        service, _, handle = cursor.header()
        serve, number = self._services.get(int(service), (self._refuse, 0))
        answer = serve(cursor, request, handle)
        if answer is not None:
            self.send(request, response(number, handle) + answer if number else response(397, handle, UNSUPPORTED))

    # -- sessions ------------------------------------------------------------------------------------------------

    def _endpoints(self, *_: Any) -> bytes:
        return u32(1) + struct_to_binary(endpoint(self.source.port, self.source.certificate))

    def _create_session(self, cursor: Cursor, *_: Any) -> bytes:
        params = struct_from_binary(ua.CreateSessionParameters, Buffer(cursor.data[cursor.pos :]))
        if (
            self.source.count
        ):  # somebody was here before: who comes after a stop begins with a new sample, not with one told already
            self.source.count, self.source.stamp = self.source.count + 1, time.time_ns()
        return created(params, self.secured.security_policy, self.source.port, self.source.certificate)

    def _activate(self, *_: Any) -> bytes:
        return octets(bytes(32)) + NOTHING + NOTHING

    def _close(self, *_: Any) -> bytes:
        if self._task is not None:
            self._task.cancel()
        return b""

    def _refuse(self, *_: Any) -> bytes:
        return b""

    def _browse(self, cursor: Cursor, request: int, handle: int) -> None:
        """Answer who asks for the way up from Objects, as other clients do before they subscribe; refuse all else."""
        answer = upwards(cursor.data[cursor.pos :])
        self.send(request, response(397, handle, UNSUPPORTED) if answer is None else response(530, handle) + answer)

    def _forget(self, *_: Any) -> bytes:
        return u32(1, 0) + NOTHING

    # -- reading -------------------------------------------------------------------------------------------------

    def _register(self, cursor: Cursor, *_: Any) -> bytes:
        names = [str(cursor.node()[1]) for _ in range(cursor.take("<I"))]
        first = len(self._names)
        self._names += names
        short = [b"\x02" + struct.pack("<HI", NAMESPACE, first + place) for place in range(len(names))]
        return u32(len(short)) + b"".join(short)

    def _read(self, cursor: Cursor, *_: Any) -> bytes:
        cursor.pos += 12
        wanted = cursor.data[cursor.pos :]
        known = self._reads.get(wanted)
        if known is None:
            nodes, attributes = _read_ids(cursor)
            if BROWSE_NAME in attributes:
                return u32(len(nodes)) + b"".join(map(browse_name, nodes)) + NOTHING
            if not nodes or not all(space == NAMESPACE and isinstance(name, int) for space, name in nodes):
                return u32(len(nodes)) + b"".join(self._value(*node) for node in nodes) + NOTHING
            block = Block([self._names[int(name)] for _, name in nodes], None, ticks(self.source.stamp))
            known = self._reads[wanted] = (block, u32(len(nodes)), [0])
        block, head, reads = known
        reads[0] += 1
        now, step = time.time_ns(), 100 // self.source.changing
        if step == 1:
            block.patch(reads[0], now)
            self.source.produced += block.rows
        else:
            begin = reads[0] % step
            block.patch((reads[0] - 1) // step + 1, now, first=begin, step=step)
            self.source.produced += len(range(begin, block.rows, step))
        return head + bytes(block.data) + NOTHING

    def _value(self, space: int, name: int | str) -> bytes:
        stamp = ticks(self.source.stamp)
        if space == NAMESPACE and isinstance(name, str):
            kind, number = number_of(name)
            return bytes([13, kind]) + counted(kind, number, self.source.count) + struct.pack("<qq", stamp, stamp)
        found = self.source.standard(name) if space == 0 else None
        return found or b"\x02" + u32(NODE_UNKNOWN)

    # -- subscribing ---------------------------------------------------------------------------------------------

    def _subscribe(self, cursor: Cursor, request: int, handle: int) -> bytes | None:
        if self.source.polled:
            self.send(request, response(397, handle, UNSUPPORTED))
            return None
        interval, lifetime, keep_alive = cursor.take("<d"), cursor.take("<I"), cursor.take("<I")
        self._interval, self._keep_alive = interval / 1000, keep_alive
        self._task = asyncio.get_running_loop().create_task(self._run())
        return u32(9) + struct.pack("<dII", interval, lifetime, keep_alive)

    def _create_items(self, cursor: Cursor, *_: Any) -> bytes:
        cursor.pos += 8
        out = []
        for _number in range(cursor.take("<I")):
            space, name = cursor.node()
            cursor.pos += 4
            cursor.octets()
            cursor.pos += 2
            cursor.octets()
            cursor.pos += 4
            handle, interval = cursor.take("<I"), cursor.take("<d")
            cursor.node()
            if cursor.take("<B"):
                cursor.octets()
            queue = cursor.take("<I")
            cursor.pos += 1
            out.append(struct.pack("<IIdIBBB", 0, handle + 1, interval, queue, 0, 0, 0))
            if space == NAMESPACE:
                self._items.append((str(name), handle))
        return u32(len(out)) + b"".join(out) + NOTHING

    def _publish(self, cursor: Cursor, request: int, handle: int) -> None:
        acks = max(cursor.take("<i"), 0)
        self._waiting.append((request, handle, acks))
        self._flush()

    def _flush(self) -> None:
        while self.ready and self._waiting:
            request, handle, acks = self._waiting.popleft()
            message = self.ready.popleft()
            more = bytes([bool(self.ready)])
            results = u32(acks) + bytes(4 * acks) + NOTHING
            self.send(request, response(829, handle) + u32(9, 0) + more + message + results)

    async def _run(self) -> None:
        """Publish; nothing but signs of life until all tags are monitored, then every tag at the rate."""
        loop, source = asyncio.get_running_loop(), self.source
        while len(self._items) < source.tags:
            self._notify(b"")
            self._flush()
            await asyncio.sleep(self._interval)
        items = [self._items[at : at + MOST] for at in range(0, len(self._items), MOST)]
        stamp, count = ticks(source.stamp), source.count
        blocks = [Block([name for name, _ in some], [handle for _, handle in some], stamp, count) for some in items]
        for block in blocks:
            self._notify(_data(block))  # every item begins with the value that it has
            self._flush()
        await asyncio.sleep(0.5)
        due, quiet = loop.time(), loop.time()
        while True:
            source.count += 1
            source.stamp = time.time_ns()
            for block in blocks if source.rate else ():
                block.patch(source.count, source.stamp)
                self._notify(_data(block))
                source.produced += block.rows
                self._flush()
            if not source.rate and loop.time() - quiet > self._keep_alive * self._interval * 0.8:
                quiet = loop.time()
                self._notify(b"")
                self._flush()
            due += 1 / source.rate if source.rate else 0.5
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _notify(self, part: bytes) -> None:
        """Queue a notification message; a sign of life tells the number of the next one with data, and never waits behind another."""
        if not part and self.ready:
            return
        head = u32(self._sequence + 1) + struct.pack("<q", ticks(time.time_ns()))
        self._sequence += bool(part)
        self.ready.append(head + (u32(1) + part if part else NOTHING))


def _read_ids(cursor: Cursor) -> tuple[list[tuple[int, int | str]], set[int]]:
    """Decode the nodes of a ReadRequest, and which attributes are asked for."""
    out, attributes = [], set()
    for _ in range(cursor.take("<I")):
        out.append(cursor.node())
        attributes.add(cursor.take("<I"))
        cursor.octets()
        cursor.pos += 2
        cursor.octets()
    return out, attributes


def _data(block: Block) -> bytes:
    """Encode a DataChangeNotification as an ExtensionObject."""
    body = u32(block.rows) + bytes(block.data) + struct.pack("<i", -1)
    return struct.pack("<BBHB", 1, 0, 811, 1) + octets(body)


async def serve(source: Source) -> None:
    """Listen on a free port until standard input ends."""
    server = await asyncio.get_running_loop().create_server(lambda: Link(source), "127.0.0.1", 0)
    source.port = server.sockets[0].getsockname()[1]
    thumbprint = None if source.certificate is None else source.certificate.thumbprint
    print(json.dumps({"port": source.port, "thumbprint": thumbprint}), flush=True)
    await until_told(source.figures)
    server.close()
    for link in list(source.links):
        link.transport.abort()


def main() -> None:
    """Run."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tags", type=int, required=True)
    options.add_argument("--rate", type=float, default=10.0, help="samples of each tag in a second; 0: the values never change")
    options.add_argument("--polled", action="store_true", help="refuse subscriptions")
    options.add_argument("--changing", type=int, default=100, help="percent of the tags that a poll finds changed")
    options.add_argument("--secure", action="store_true", help="Basic256Sha256, SignAndEncrypt")
    told = options.parse_args()
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    certificate = Certificate() if told.secure else None
    asyncio.run(serve(Source(told.tags, told.rate, polled=told.polled, changing=told.changing, certificate=certificate)))


if __name__ == "__main__":
    main()
