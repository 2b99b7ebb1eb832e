"""The wire itself: nothing that writes ever leaves, and cancelling always works."""

import asyncio
import subprocess
import sys

import pytest
from modbus_plc import Plc, ScaledClock, serving
from pymodbus.client.mixin import ModbusClientMixin

from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.tcp import TcpWire

BLOCK = Block("holding", 0, 2, 1, ())

WRITES = {
    "write_coil": (0, True),
    "write_register": (0, 7),
    "write_coils": (0, [True]),
    "write_registers": (0, [7]),
    "mask_write_register": (),
    "readwrite_registers": (),
    "write_file_record": ([],),
    "diag_restart_communication": (True,),
    "diag_clear_counters": (),
    "diag_force_listen_only": (),
    "report_device_id": (),
    "read_device_information": (),
    "read_file_record": ([],),
    "read_fifo_queue": (),
    "read_exception_status": (),
}


async def opened(port: int) -> TcpWire:
    """Return an open wire."""
    wire = TcpWire("127.0.0.1", port, ScaledClock().now, lambda: None)
    await wire.open(1)
    return wire


@pytest.mark.parametrize("name", WRITES)
async def test_nothing_but_reads_reaches_the_wire(name: str) -> None:
    """Whatever pymodbus can send besides the four reads raises, and not one byte of it arrives."""
    plc = Plc()
    async with serving(plc):
        wire = await opened(plc.port)
        try:
            with pytest.raises(PermissionError, match="is blocked"):
                await getattr(wire._client, name)(*WRITES[name])
            await wire.read(1, BLOCK, 1)
        finally:
            await wire.close()
    assert [asked.function for asked in plc.asked] == [3]
    assert len(plc.received) == 12


def test_the_list_of_writes_knows_every_writing_call() -> None:
    """A writing call that a new pymodbus brings must be added to the test above."""
    calls = {name for name in vars(ModbusClientMixin) if name.startswith(("write_", "mask_write", "readwrite"))}
    assert calls <= set(WRITES)


async def test_both_layers_of_the_guard_hold_alone() -> None:
    """With the check of the request object taken away, the check of the bytes still blocks, and the other way round."""
    plc = Plc()
    for layer in ("trace_pdu", "trace_packet"):
        async with serving(plc):
            wire = await opened(plc.port)
            setattr(wire._client.ctx, layer, lambda sending, data: data)
            with pytest.raises(PermissionError):
                await wire._client.write_register(0, 1)
            await wire.close()
        plc.port = 0
    assert not plc.received


async def test_a_cancellation_that_meets_the_answer_is_not_lost() -> None:
    """A task that is cancelled in the very turn of the loop in which its answer arrives is cancelled."""
    plc = Plc()
    async with serving(plc):
        wire = await opened(plc.port)
        task = asyncio.create_task(wire.read(1, BLOCK, 1))

        def now() -> int:
            task.cancel()  # called while the answer is taken in
            return 0

        wire._now = now
        with pytest.raises(asyncio.CancelledError):
            await task
        await wire.close()


async def test_the_time_of_an_answer_is_its_arrival() -> None:
    """The time is taken when the last byte is there, however late the reader gets its turn; the one before is that of the question."""
    plc = Plc()
    clock = ScaledClock()
    async with serving(plc):
        wire = TcpWire("127.0.0.1", plc.port, clock.now, lambda: None)
        await wire.open(1)
        times: list[int] = []
        wire._now = lambda: times.append(clock.now()) or times[-1]
        reply = await wire.read(1, BLOCK, 1)
        await wire.close()
    assert [reply.asked, reply.at] == times


def test_importing_the_driver_needs_no_asyncua() -> None:
    """A process with Modbus devices alone never loads the OPC UA library."""
    code = "import sys, edge_agent.drivers.modbus.driver; print('asyncua' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "False"
