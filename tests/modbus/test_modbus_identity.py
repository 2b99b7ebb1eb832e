"""Backup addresses and identity over real sockets: one address at a time, and no value of a stranger is ever handed on."""

import asyncio
import contextlib
import struct

import pytest
from modbus_plc import Asked, Plc, ScaledClock, Send, device, frame, serving
from pydantic import ValidationError

from edge_agent.drivers.modbus import identification, identity
from edge_agent.drivers.modbus.connection import link
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.drivers.modbus.frames import InvalidReplyError, Request
from edge_agent.drivers.modbus.guard import check_pdu
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceDown, DeviceFault, DeviceUp, Quality

WHO = 900
"""The register that says who a device is."""

IDENTITY = {"register": {"register": "holding", "address": WHO}, "equals": 4711}


async def collect(driver: ModbusDriver, seconds: float) -> list[Batch]:
    """Read for a while, or until the endpoint is lost."""
    batches: list[Batch] = []
    with contextlib.suppress(TimeoutError, DisconnectedError):
        async with asyncio.timeout(seconds):
            while True:
                batches += await driver.read()
    return batches


def told(batches: list[Batch], kind: type) -> list:
    """Return the notices of a kind, in order."""
    return [note for batch in batches for note in (*batch.before, *batch.after) if isinstance(note, kind)]


def faults(batches: list[Batch], code: str) -> list[bool]:
    """Return for each fault of a code whether it was cleared."""
    return [fault.ok for fault in told(batches, DeviceFault) if fault.code == code]


class Swapped(Plc):
    """A device whose registers hold who it is, ``who`` << 4: another one is recognised by each of its values."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)
        self.who = 4711
        self.value = lambda unit, address: self.who if address == WHO else self.who << 2 | address & 3


async def test_a_replaced_device_is_bad_and_back_when_the_right_one_answers() -> None:
    """The unit behind a gateway goes silent, another answers in its place: bad rows and one fault; the right one clears it."""
    plc = Swapped()
    async with serving(plc):
        configs = [device(plc.port, probe="100ms", identity=IDENTITY), device(plc.port, name="other", unit=2)]
        async with connect(configs, ScaledClock(), {}) as driver:
            first = await collect(driver, 0.15)
            plc.silent = {1}
            await asyncio.sleep(0.15)
            plc.who, plc.silent = 1234, set()
            strange = await collect(driver, 0.7)
            plc.who = 4711
            back = await collect(driver, 0.5)
    mine = [[batch for batch in part if batch.device == "dev"] for part in (first, strange, back)]
    values = [value for part in mine for batch in part for value in batch.values if value is not None]
    assert values
    assert all(value >> 2 == 4711 for value in values), "no value of the stranger"
    assert faults(first, "replaced") == [True]
    assert faults(strange, "replaced") == [False]
    (fault,) = (fault for fault in told(strange, DeviceFault) if fault.code == "replaced")
    assert "holding 900-900 says 1234 instead of 4711" in fault.text
    assert fault.remedy == identity.REMEDY
    bad = [batch for batch in mine[1] if len(batch)][-1]
    assert (bad.tags, bad.quality) == ([0, 1, 2], [Quality.BAD] * 3)
    assert faults(back, "replaced") == [True]
    assert "dev" in {up.device for up in told(back, DeviceUp)}
    assert "other" not in {down.device for down in told([*strange, *back], DeviceDown)}


async def test_a_stranger_at_the_first_connect_delivers_nothing() -> None:
    """A device alone at its address that is another one from the beginning: bad rows, the fault, and its registers are not even read."""
    plc = Swapped()
    plc.who = 1234
    async with serving(plc), connect([device(plc.port, probe="50ms", identity=IDENTITY)], ScaledClock(), {}) as driver:
        batches = await collect(driver, 0.4)
    assert {asked.address for asked in plc.asked} == {WHO}
    assert len(plc.asked) >= 3
    assert faults(batches, "replaced") == [False]
    assert {value for batch in batches for value in batch.values} == {None}


async def test_identity_is_checked_while_the_device_answers() -> None:
    """Every so often the check is made although nothing was lost."""
    plc = Swapped()
    async with serving(plc), connect([device(plc.port, identity={**IDENTITY, "every": "50ms"})], ScaledClock(), {}) as driver:
        await collect(driver, 0.1)
        plc.who = 1234
        batches = await collect(driver, 0.3)
    assert faults(batches, "replaced") == [False]


OBJECTS = {0: b"Vendor", 1: b"P-1", 2: b"V2.0"}


class Named(Plc):
    """A device that says who it is, one object an answer; ``sent`` are the requests that reached it."""

    def __init__(self, *, numbered: bool = True) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self._numbered = numbered

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(7)
                pdu = await reader.readexactly(int.from_bytes(head[4:6], "big") - 1)
                self.sent.append(pdu)
                answer = b"\x03\x06" + struct.pack(">HHH", 1, 2, 3)
                if pdu[0] == 0x2B:
                    number = pdu[3]
                    more = b"\xff" + bytes([number + 1]) if number < 2 else b"\0\0"
                    answer = pdu[:3] + b"\x83" + more + b"\x01" + bytes([number, len(OBJECTS[number])]) + OBJECTS[number]
                writer.write(frame(int.from_bytes(head[:2], "big") if self._numbered else 0, head[6], answer))
        writer.close()


@pytest.mark.parametrize(
    ("right", "words"), [("P-1", None), ("P-2", "identification object 1 is 'P-1' instead of 'P-2'"), (None, None)]
)
async def test_function_43_is_asked_only_where_it_is_configured(right: str | None, words: str | None) -> None:
    """Device identification recognises a device over several answers, and leaves in no other case."""
    plc = Named()
    configured = {} if right is None else {"identity": {"objects": {1: right}}}
    async with serving(plc), connect([device(plc.port, **configured)], ScaledClock(), {}) as driver:
        batches = await collect(driver, 0.1)
    assert [fault.text.partition(": ")[2] for fault in told(batches, DeviceFault) if not fault.ok] == ([words] if words else [])
    asked = {pdu for pdu in plc.sent if pdu[0] != 3}
    assert asked == (set() if right is None else {b"\x2b\x0e\x01" + bytes([number]) for number in range(3)})


async def test_a_device_behind_a_gateway_without_numbers_says_who_it_is() -> None:
    """With ``quirks: tid_zero`` the answer with transaction 0 is believed; without it nothing is."""
    plc = Named(numbered=False)
    identity = {"objects": {1: "P-1"}}
    async with (
        serving(plc),
        connect([device(plc.port, identity=identity, quirks="tid_zero")], ScaledClock(), {}) as driver,
    ):
        batches = await collect(driver, 0.1)
    assert [fault.ok for fault in told(batches, DeviceFault)] == [True]
    assert [value for batch in batches for value in batch.values] == [1, 2, 3]
    with pytest.raises(DisconnectedError):
        async with serving(plc), connect([device(plc.port, identity=identity)], ScaledClock(), {}):
            pass


@pytest.mark.parametrize(
    "pdu", [b"\x2b\x0e\x04\x00", b"\x2b\x0d\x01\x00", b"\x2b\x0e\x01\x00\x00", b"\x05\0\0\xff\0", b"\x10\x0e\x01\x00"]
)
def test_the_guard_lets_out_no_more_than_the_question(pdu: bytes) -> None:
    """Even while a device is asked who it is nothing else of function 43, and no write, passes."""
    with pytest.raises(PermissionError):
        check_pdu(pdu, identify=True)
    check_pdu(b"\x2b\x0e\x01\x00", identify=True)
    with pytest.raises(PermissionError):
        check_pdu(b"\x2b\x0e\x01\x00")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x0e\x01\x01\0\0",
        b"\x0e\x01\x01\0\0\x01",
        b"\x0e\x01\x01\0\0\x01\0\x05ab",
        b"\x0e\x01\x01\0\0\x00x",
        b"\x0d\x01\x01\0\0\0",
    ],
)
def test_an_identification_that_does_not_add_up_is_no_answer(body: bytes) -> None:
    """Objects that end behind the answer, or before its end, are not believed."""
    with pytest.raises(InvalidReplyError):
        identification.objects(body)


def test_an_identification_comes_in_pieces() -> None:
    """No prefix of a right answer is taken for whole or for wrong, and a foreign unit is refused."""
    whole = frame(7, 1, b"\x2b\x0e\x01\x01\0\0\x01\0\x02ab")
    asked = Request(7, 1, 0x2B, -1)
    assert [identification.complete(whole[:n], asked) for n in range(1, len(whole) + 1)] == [False] * (len(whole) - 1) + [True]
    with pytest.raises(InvalidReplyError):
        identification.complete(whole, asked._replace(unit=2))


async def test_the_backup_takes_over_and_is_left_when_it_fails() -> None:
    """The primary refuses: the backup is read, with its unit, and a fault says so; a later connect finds the primary again and clears it."""
    spare = Plc(value=lambda unit, address: unit)
    async with serving(Plc()) as gone:
        port = gone.port
    async with serving(spare):
        config = device(port, backup={"host": "127.0.0.1", "port": spare.port, "unit_id": 9})
        async with connect([config], ScaledClock(), {}) as driver:
            batches = await collect(driver, 0.1)
        assert {value for batch in batches for value in batch.values} == {9}
        (fault,) = (fault for fault in told(batches, DeviceFault) if not fault.ok)
        assert fault.code == "on_backup"
        assert f"127.0.0.1:{port} refuses" in fault.text
        async with serving(Plc(port=port)), connect([config], ScaledClock(), {}) as driver:
            batches = await collect(driver, 0.1)
        assert faults(batches, "on_backup") == [True]
        assert spare.connections == 1


async def test_a_primary_without_its_unit_is_left_before_the_backup_is_opened() -> None:
    """A gateway behind which no unit answers counts as failed, and its connection is closed first."""
    left: list[bool] = []

    async def look(asked: Asked, answer: bytes, send: Send) -> None:
        await asyncio.sleep(0.02)  # both ends are in this loop: it has seen a close by then
        left.append(all(writer.is_closing() for writer in primary.writers))
        await send(answer)

    async def nobody(asked: Asked, answer: bytes, send: Send) -> None:
        await send(frame(asked.tid, asked.unit, b"\x83\x0b"))

    primary, spare = Plc(always=nobody), Plc(always=look)
    async with serving(primary), serving(spare):
        config = device(primary.port, backup=[{"host": "127.0.0.1", "port": spare.port}])
        async with connect([config], ScaledClock(), {}) as driver:
            batches = await collect(driver, 0.1)
    assert told(batches, DeviceUp)
    assert primary.connections == 1
    assert left[0]


async def test_after_return_after_the_primary_is_tried() -> None:
    """With return_after the connection to the backup ends by itself, and says why."""
    spare = Plc()
    async with serving(Plc()) as gone:
        port = gone.port
    async with serving(spare):
        config = device(port, backup={"host": "127.0.0.1", "port": spare.port}, return_after="100ms")
        async with connect([config], ScaledClock(), {}) as driver:
            await collect(driver, 2)
            with pytest.raises(DisconnectedError, match="the primary is tried"):
                await driver.read()


async def test_a_device_that_closes_after_each_answer_is_collected_from() -> None:
    """One connection for each answer, no loss, no notice but the fault that says so."""
    plc = Plc(value=lambda unit, address: len(plc.asked))

    async def close(asked: Asked, answer: bytes, send: Send) -> None:
        await send(answer)
        raise ConnectionError

    plc.always = close
    async with serving(plc), connect([device(plc.port)], ScaledClock(), {}) as driver:
        batches = await collect(driver, 0.4)
    assert not told(batches, DeviceDown)
    assert len([batch for batch in batches if len(batch)]) >= 8
    assert faults(batches, "closes") == [False]
    assert plc.connections <= len(plc.asked) + 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"identity": {"equals": 1}}, "belong together"),
        ({"identity": {}}, "nothing says who is right"),
        ({"identity": {"objects": {1: "x"}}, "framing": "rtu"}, "framing: tcp only"),
        ({"identity": {"register": {"register": "holding", "address": 65536}, "equals": 1}}, "65535"),
        ({"host": None, "port": None, "serial": "/dev/ttyX", "backup": {"host": "b"}}, "backup is for a device on the network"),
    ],
)
def test_what_cannot_be_meant_is_refused(more: dict, words: str) -> None:
    """Each mistake is told with what to write instead."""
    with pytest.raises(ValidationError, match=words):
        device(**{"port": 1, **more})


def test_only_devices_with_the_same_backups_share_a_connection() -> None:
    """A device that goes elsewhere when the gateway fails needs a connection of its own."""
    plain, spare = device(1), device(1, backup={"host": "b"})
    assert link(plain, "a") != link(spare, "a")
    assert link(spare, "a") == link(device(1, backup={"host": "B", "unit_id": 3}), "b")
