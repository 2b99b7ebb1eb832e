"""A read-only Modbus TCP server that computes its registers at the moment of each request (MODBUS Messaging on TCP/IP V1.0b).

A device answers function codes 1 to 4; everything else is exception 1, and a write is a violation in the ledger.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping

from simulators.clock import Clock
from simulators.command import Stage, ready
from simulators.ledger import Ledger

COILS, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4
_WRITES = {5, 6, 15, 16, 21, 22, 23}
_MBAP = struct.Struct(">HHHB")
_LONGEST_PDU = 253
_MOST = {COILS: 2000, DISCRETE: 2000, HOLDING: 125, INPUT: 125}

Tables = Mapping[int, Callable[[int], list[int]]]
"""By function code: all registers (or bits) from address 0 at plant time t."""


class IllegalRequest(Exception):  # noqa: N818 - the specification's word
    """Answered by an exception response with this code: 1 function, 2 address, 3 quantity, 11 no such unit."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class ModbusServer:
    """One device behind one port."""

    def __init__(self, unit: int, tables: Tables, clock: Clock, ledger: Ledger) -> None:
        self._unit = unit
        self._tables = tables
        self._clock = clock
        self._ledger = ledger
        self.function_codes: Counter[int] = Counter()
        self._connections: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        ended = self._connections[writer] = asyncio.Event()
        self._ledger.write(self._clock.t(), "connected")
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the peer has gone, which is the end of a connection
        finally:
            writer.close()
            del self._connections[writer]
            ended.set()

    async def close(self) -> None:
        """Reset all connections and wait for their handlers."""
        handlers = list(self._connections.values())
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*(ended.wait() for ended in handlers))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the stream is no Modbus and has to be closed."""
        transaction, protocol, length, unit = _MBAP.unpack(await reader.readexactly(_MBAP.size))
        if protocol != 0 or not 2 <= length <= _LONGEST_PDU + 1:
            self._ledger.write(self._clock.t(), "garbage", {"protocol": protocol, "length": length})
            return False
        pdu = await reader.readexactly(length - 1)
        answer = self.response(unit, pdu)
        writer.write(_MBAP.pack(transaction, 0, len(answer) + 1, unit) + answer)
        return True

    def response(self, unit: int, pdu: bytes) -> bytes:
        """Give the response PDU to a request PDU, at this moment's plant time."""
        function = pdu[0]
        self.function_codes[function] += 1
        t = self._clock.t()
        if function in _WRITES:
            self._ledger.write(t, "violation", {"function": function, "pdu": pdu.hex()})
        try:
            return self._read(unit, function, pdu, t)
        except IllegalRequest as illegal:
            return bytes([function & 0x7F | 0x80, illegal.code])

    def _read(self, unit: int, function: int, pdu: bytes, t: int) -> bytes:
        if unit != self._unit:
            raise IllegalRequest(11)
        if function not in _MOST:
            raise IllegalRequest(1)
        if len(pdu) != 5:
            raise IllegalRequest(3)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= _MOST[function]:
            raise IllegalRequest(3)
        values = self._tables[function](t) if function in self._tables else []
        if address + count > len(values):
            raise IllegalRequest(2)
        wanted = values[address : address + count]
        if function in (HOLDING, INPUT):
            return struct.pack(f">BB{count}H", function, 2 * count, *wanted)
        bits = sum(bit << index for index, bit in enumerate(wanted)).to_bytes((count + 7) // 8, "little")
        return bytes([function, len(bits)]) + bits


async def serve(stage: Stage, unit: int, tables: Tables) -> None:
    """Listen and answer until cancelled; the counts of function codes go to the ledger once a second and at the end."""
    device = ModbusServer(unit, tables, stage.clock, stage.ledger)
    server = await asyncio.start_server(device.handle, stage.host, stage.port)
    ready(f"tcp://{stage.host}:{server.sockets[0].getsockname()[1]}")
    starting = asyncio.create_task(stage.clock.wait_started())
    told: dict[int, int] = {}
    try:
        while True:
            await asyncio.sleep(1)
            told = _tell(stage, device, told)
    finally:
        starting.cancel()
        server.close()
        await device.close()
        _tell(stage, device, told)


def _tell(stage: Stage, device: ModbusServer, told: dict[int, int]) -> dict[int, int]:
    if device.function_codes == told:
        return told
    counts = dict(device.function_codes)
    stage.ledger.write(stage.clock.t(), "function_codes", {str(code): count for code, count in sorted(counts.items())})
    return counts
