"""A Modbus device that does things wrong when it is told to, and keeps a ledger of what it truly sent. It only ever answers reads.

Function codes 1 to 4 and Read Device Identification (43/14) are answered; everything else is exception 1, counted in the ledger.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterable
from random import Random

from simulators.modbus_framing import FRAMINGS, NoModbusError, Request
from simulators.modbus_ledger import Entry, Ledger
from simulators.modbus_links import LineLink, SocketLink
from simulators.modbus_misdeeds import MISDEEDS
from simulators.modbus_stamps import Stamps
from simulators.modbus_turn import Turn, answer_pdu

ANOTHER = "another device"
"""What the ledger says of an answer that is right, but not of the device that should be there."""

_MOST = {1: 2000, 2: 2000, 3: 125, 4: 125}


class FaultyDevice:
    """One device, or a gateway with several units: those in ``units`` answer, the others are silent.

    ``fault`` is what it does wrong at present ('' = nothing), to a share ``rate`` of the requests, drawn from ``seed``. ``timeout`` is
    what the client waits (machine seconds): misdeeds with times are made of it. ``now`` is the clock of the ledger (ns). ``torn`` makes
    the first half of every answer one scan older than the second; ``latency`` (s) is what each answer takes. ``identity`` is vendor, product and serial number.
    ``strangers`` are the units in whose place another device stands (F57): it answers rightly, from registers of its own, ``other``.
    """

    def __init__(
        self,
        framing: str,
        *,
        units: Iterable[int] = (1,),
        timeout: float = 1.0,
        seed: int = 0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Do nothing wrong yet."""
        self.framing = FRAMINGS[framing]
        self.units = set(units)
        self.stamps = Stamps()
        self.other = Stamps(1)
        self.strangers: set[int] = set()
        self.ledger = Ledger()
        self.fault = ""
        self.rate = 1.0
        self.only: Callable[[Request], bool] = lambda _: True
        self.torn = False
        self.latency = 0.0
        self.identity = (b"edge-agent", b"faulty device", b"1")
        self._random = Random(seed)
        self._timeout = timeout
        self._now = now
        self._stalled = 0.0

    def heal(self) -> None:
        """Do nothing wrong from now on."""
        self.fault, self.torn, self._stalled = "", False, 0.0

    async def serve(self, link: SocketLink | LineLink) -> None:
        """Answer what comes on one connection or line, one request after the other, until it ends."""
        self.ledger.connections += link.socket
        link.number = self.ledger.connections if link.socket else 0
        buffer = bytearray()
        while data := await link.receive():
            buffer += data
            try:
                while (request := self.framing.take(buffer)) is not None:
                    await self._turn(Request(request.unit, request.pdu, request.transaction, self._now()), link)
            except NoModbusError:
                self.ledger.noise += 1
                break
        await link.close()

    async def _turn(self, request: Request, link: SocketLink | LineLink) -> None:
        address, count = struct.unpack(">HH", request.pdu[1:5]) if request.function in _MOST and len(request.pdu) == 5 else (0, 0)
        entry = self.ledger.asked(Entry(request.at, request.unit, request.function, address, count, link.number))
        if request.unit not in self.units:
            entry.fault = "not there"
            return
        await self._sleep_through()
        await asyncio.sleep(self.latency)
        pdu = self._answer(request, entry)
        chosen = bool(self.fault) and entry.function in _MOST and self.only(request) and self._random.random() < self.rate
        if chosen:
            entry.fault = self.fault
            await MISDEEDS[self.fault].act(self._wronged(request, entry, pdu, link))
        else:
            entry.right = bool(entry.values) and entry.fault != ANOTHER
            await link.send(self.framing.wrap(request.unit, pdu, request.transaction))
        entry.sent = self._now()
        self.ledger.settled(entry)

    async def _sleep_through(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._stalled - loop.time()) > 0:  # noqa: ASYNC110 - a device that is healed meanwhile
            await asyncio.sleep(min(left, self._timeout))

    def _wronged(self, request: Request, entry: Entry, pdu: bytes, link: SocketLink | LineLink) -> Turn:
        loop = asyncio.get_running_loop()

        def stall(seconds: float) -> None:
            self._stalled = loop.time() + seconds

        return Turn(request, entry, pdu, self.framing, link, self.stamps, self._timeout, self._random, stall)

    def _answer(self, request: Request, entry: Entry) -> bytes:
        """Return the right answer, and let the ledger have its values."""
        function = request.function
        if request.pdu[:2] == b"\x2b\x0e":
            return self._identification(request.pdu)
        if function not in _MOST:
            return bytes([function | 0x80, 1])
        if not 1 <= entry.count <= _MOST[function]:
            return bytes([function | 0x80, 3])
        if entry.address + entry.count > 65_536:
            return bytes([function | 0x80, 2])
        stamps = self.other if entry.unit in self.strangers else self.stamps
        scan = stamps.next_scan()
        entry.values = stamps.read(entry.unit, function, entry.address, entry.count)
        if self.torn:
            half = entry.count // 2
            entry.values = stamps.read(entry.unit, function, entry.address, half, scan - 1) + entry.values[half:]
            entry.fault = "torn"
        if stamps is self.other:
            entry.fault = ANOTHER
        return answer_pdu(function, entry.values)

    def _identification(self, pdu: bytes) -> bytes:
        """Answer Read Device Identification: the three basic objects in one answer (V1.1b3, 6.21)."""
        first = pdu[3] if len(pdu) > 3 and pdu[2] == 4 else 0
        numbers = [first] if len(pdu) > 2 and pdu[2] == 4 else [0, 1, 2]
        objects = b"".join(bytes([number, len(self.identity[number])]) + self.identity[number] for number in numbers if number < 3)
        return b"\x2b\x0e" + bytes([pdu[2] if len(pdu) > 2 else 1, 0x81, 0, 0, len(numbers)]) + objects
