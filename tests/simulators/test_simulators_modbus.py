"""The Modbus simulators: the protocol's edges as a table, and the real processes against pymodbus."""

import asyncio
import struct
import time
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient
from simulators_process import SCENARIOS, port_of, simulator

from simulators import modbus_heater, modbus_meter
from simulators.clock import read_clock, write_clock
from simulators.ledger import Ledger, read_ledger
from simulators.line import Line
from simulators.modbus_server import HOLDING, INPUT, ModbusServer
from simulators.scenario import SECOND, load_scenario

LINE_FILE = SCENARIOS / "line.yaml"
SCENARIO = load_scenario(LINE_FILE)


def ended_clock(path: Path):
    """A clock that stands at the scenario's end."""
    write_clock(path, SCENARIO, 1.0, started=time.monotonic_ns() - 2 * SCENARIO.length)
    return read_clock(path, SCENARIO)


@pytest.fixture
def device(tmp_path):
    """A device with three input registers and ten holding registers, unit 7."""
    with Ledger() as ledger:
        tables = {INPUT: lambda _: [1, 2, 3], HOLDING: lambda _: list(range(10))}
        yield ModbusServer(7, tables, ended_clock(tmp_path / "clock.json"), ledger)


@pytest.mark.parametrize(
    ("unit", "request_pdu", "answer"),
    [
        (7, "04 0000 0003", "04 06 0001 0002 0003"),
        (7, "04 0001 0001", "04 02 0002"),
        (7, "03 0008 0002", "03 04 0008 0009"),
        (7, "04 0002 0002", "84 02"),
        (7, "04 ffff 0001", "84 02"),
        (7, "04 0000 0000", "84 03"),
        (7, "04 0000 007e", "84 03"),
        (7, "04 0000", "84 03"),
        (7, "01 0000 0001", "81 02"),
        (7, "06 0000 0001", "86 01"),
        (7, "10 0000 0001 02 0001", "90 01"),
        (7, "2b 0e 01 00", "ab 01"),
        (1, "04 0000 0003", "84 0b"),
    ],
)
def test_a_request_is_answered_by_the_book(device, unit, request_pdu, answer):
    """Each row is one request PDU and its response."""
    assert device.response(unit, bytes.fromhex(request_pdu)) == bytes.fromhex(answer)


def test_bits_are_packed_from_the_lowest(tmp_path):
    """Coil 0 is bit 0 of the first byte (MODBUS Application Protocol 6.1)."""
    device = ModbusServer(1, {1: lambda _: [1, 0, 1, 1, 0, 0, 0, 0, 1]}, ended_clock(tmp_path / "c.json"), Ledger())
    assert device.response(1, bytes.fromhex("01 0000 0009")) == bytes.fromhex("01 02 0d 01")


def test_a_write_is_a_violation_in_the_ledger(device):
    """Reads are counted, a write is named."""
    device.response(7, bytes.fromhex("04 0000 0001"))
    device.response(7, bytes.fromhex("06 0000 0001"))
    assert device.function_codes == {4: 1, 6: 1}
    assert device._ledger.counts["violation"] == 1


def test_the_meters_registers_have_their_word_orders():
    """Power is float32 ABCD, energy uint32 with the low word first."""
    t = 400 * SECOND
    line = Line(SCENARIO)
    words = modbus_meter.registers(line, t)
    assert struct.unpack(">f", struct.pack(">HH", *words[:2])) == (line.power(t),)
    assert words[3] << 16 | words[2] == line.meter_register(t)
    before_wrap = modbus_meter.registers(line, 0)
    assert before_wrap[3] << 16 | before_wrap[2] == 99_999_900


def test_a_negative_temperature_is_twos_complement():
    """An int16 below zero fills its register."""
    cold = SCENARIO.model_copy(update={"heater": SCENARIO.heater.model_copy(update={"mean": -5.0, "amplitude": 0.0})})
    assert modbus_heater.registers(Line(cold), 0)[0] == 0x10000 - 50


async def test_the_meter_as_a_process(tmp_path):
    """Pymodbus reads exactly the registers of the time the clock shows; SIGTERM ends it and the ledger has the counts."""
    clock, ledger = tmp_path / "clock.json", tmp_path / "ledger.jsonl"
    ended_clock(clock)
    async with simulator("modbus_meter", "--scenario", LINE_FILE, "--port", 0, "--clock", clock, "--ledger", ledger) as (url, _):
        client = AsyncModbusTcpClient("127.0.0.1", port=port_of(url))
        assert await client.connect()
        answer = await client.read_input_registers(0, count=5, device_id=1)
        assert not answer.isError()
        refused = await client.write_register(0, 1, device_id=1)
        assert (refused.isError(), refused.exception_code) == (True, 1)
        client.close()
    assert answer.registers == modbus_meter.registers(Line(SCENARIO), read_clock(clock, SCENARIO).t())
    entries = read_ledger(ledger)
    assert [entry["value"] for entry in entries if entry["what"] == "function_codes"][-1] == {"4": 1, "6": 1}
    assert len([entry for entry in entries if entry["what"] == "violation"]) == 1


async def test_the_heater_as_a_process_breaks_and_mends(tmp_path):
    """The process follows the shared clock from its start through a sensor break; pipelined requests are answered in order."""
    clock = tmp_path / "clock.json"
    write_clock(clock, SCENARIO, 200.0)
    async with simulator("modbus_heater", "--scenario", LINE_FILE, "--port", 0, "--clock", clock) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))

        async def read_twice():
            writer.write(bytes.fromhex("0001 0000 0006 02 03 0000 0003 0002 0000 0006 02 03 0002 0001"))
            first, second = await reader.readexactly(15), await reader.readexactly(11)
            assert (first[:2], second[:2]) == (b"\0\1", b"\0\2")
            return struct.unpack(">3H", first[9:])

        assert await read_twice() == (720, 720, 1)
        write_clock(clock, SCENARIO, 200.0, started=time.monotonic_ns() - SECOND * 290 // 200)
        seen = set()
        async with asyncio.timeout(10):
            status = 1
            while (32767, 0x8001) not in seen or status != 1:  # until the break has come and gone
                pv, _, status = await read_twice()
                seen.add((pv, status))
        assert {pv for pv, status in seen if status == 0x8001} == {32767}
        assert all(710 <= pv <= 730 for pv, status in seen if status == 1)
        writer.close()
        await writer.wait_closed()


async def test_garbage_ends_the_connection(tmp_path):
    """A header that is no Modbus is closed, not answered."""
    async with simulator("modbus_meter", "--scenario", LINE_FILE, "--port", 0) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_scenario_that_cannot_be_played_is_exit_code_2(tmp_path):
    """The problems are on stderr."""
    path = tmp_path / "bad.yaml"
    path.write_text("version: 1\n")
    with pytest.raises(AssertionError, match=r"bad\.yaml:1: name: Field required"):
        async with simulator("modbus_meter", "--scenario", path, "--port", 0):
            pass
