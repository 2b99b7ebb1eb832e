"""Lines whose answers carry no number: a late answer is never booked under another register, on a port as behind a gateway."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from modbus_line import Line, Send, Trick, over_pty, over_tcp, unit
from modbus_plc import Asked, Plc, ScaledClock, device, serving

from edge_agent.drivers.modbus.dial import Dial
from edge_agent.drivers.modbus.drift import inspect
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import SilentError
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.inspection import Inspection
from edge_agent.model.reading import Batch, DeviceDown, Gap, Quality

MEDIA = {
    "rtu serial": ("rtu", over_pty),
    "rtu over tcp": ("rtu", over_tcp),
    "ascii serial": ("ascii", over_pty),
    "ascii over tcp": ("ascii", over_tcp),
}
TAGS = {
    "a": {"register": "holding", "address": 100},
    "b": {"register": "holding", "address": 200},
    "c": {"register": "input", "address": 300},
}
ADDRESS = [100, 200, 300]


@contextlib.asynccontextmanager
async def lined(medium: str, **more: object) -> AsyncIterator[Line]:
    """A line over a medium."""
    framing, over = MEDIA[medium]
    async with over(Line(framing, **more)) as line:
        yield line


def check(batches: list[Batch]) -> int:
    """Fail when a row holds what its own register never held; returns how many were right."""
    rows = 0
    for batch in batches:
        for index, value, quality in zip(batch.tags, batch.values, batch.quality, strict=True):
            if quality is Quality.BAD:
                continue
            assert value == ADDRESS[index] + (1000 if batch.device == "two" else 0)
            rows += 1
    return rows


def mine(unit_id: int, address: int) -> int:
    """Every register of a unit holds its own address, and a mark of the unit."""
    return address + (1000 if unit_id == 2 else 0)


async def collect(driver: ModbusDriver, seconds: float, enough: Callable[[list[Batch]], bool] = lambda _: False) -> list[Batch]:
    """Read for a while, until there is enough, or until the endpoint is lost."""
    batches: list[Batch] = []
    with contextlib.suppress(TimeoutError, DisconnectedError):
        async with asyncio.timeout(seconds):
            while not enough(batches):
                batches += await driver.read()
    return batches


def gaps(batches: list[Batch]) -> list[Gap]:
    """Return the gaps that a discarded answer left."""
    found = [notice for batch in batches for notice in batch.before if isinstance(notice, Gap)]
    return [gap for gap in found if gap.reason != "sampling_overrun"]


def downs(batches: list[Batch]) -> list[DeviceDown]:
    """Return who was given up, as a busy machine may do after one fault."""
    return [notice for batch in batches for notice in batch.before if isinstance(notice, DeviceDown)]


def late(seconds: float) -> Trick:
    """Answer after this time, and whatever else was asked meanwhile after that."""

    async def trick(asked: Asked, answer: bytes, send: Send) -> None:
        await asyncio.sleep(seconds)
        send(answer)

    return trick


async def stall(asked: Asked, answer: bytes, send: Send) -> None:
    """Say nothing."""


async def other_unit(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer as another unit."""
    send(bytes([9]) + answer[1:])


async def noise(asked: Asked, answer: bytes, send: Send) -> None:
    """One bit of the last datum is wrong."""
    send(answer[:-5] + bytes([answer[-5] ^ 1]) + answer[-4:])


async def cut(asked: Asked, answer: bytes, send: Send) -> None:
    """Lose the last character."""
    send(answer[:-1])


async def twice(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer, and answer again."""
    send(answer + answer)


async def twice_later(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer, and answer again after a moment."""
    send(answer)
    await asyncio.sleep(0.004)
    send(answer)


async def in_single_bytes(asked: Asked, answer: bytes, send: Send) -> None:
    """Send the right answer character by character."""
    for at in range(len(answer)):
        send(answer[at : at + 1])
        await asyncio.sleep(0)


FAULTS: dict[str, Trick] = {
    "late": late(0.13), "later than the next question": late(0.25), "stall": stall, "other unit": other_unit, "noise": noise, "cut": cut,
    "twice": twice, "twice, the second later": twice_later,
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("medium", ["rtu serial", "rtu over tcp", "ascii serial"])
async def test_no_fault_on_a_line_puts_a_value_under_another_tag(medium: str, fault: str) -> None:
    """One bad answer among good ones, of one of two units: the poll is discarded, both go on with their own values."""
    async with lined(medium, value=mine, tricks={23: FAULTS[fault]}) as line:
        configs = [unit(line, name="one", tags=TAGS), unit(line, name="two", unit_id=2, tags=TAGS)]
        async with connect(configs, ScaledClock(), {}) as driver:
            batches = await collect(driver, 20, lambda batches: len(line.asked) > 24 and bool(gaps(batches) or downs(batches)))
    assert check(batches) >= 6
    assert gaps(batches) or downs(batches), "the hole is declared"
    assert line.connections == 0 if line.path else line.connections >= 2


@pytest.mark.parametrize("medium", ["rtu serial", "rtu over tcp"])
async def test_a_unit_that_is_always_late_never_delivers_a_foreign_value(medium: str) -> None:
    """Every answer of unit 1 comes after its timeout, queued behind each other: no row of it, and unit 2 keeps its own values."""

    async def slow(asked: Asked, answer: bytes, send: Send) -> None:
        if asked.unit == 1:
            await asyncio.sleep(0.12)
        send(answer)

    async with lined(medium, value=mine, always=slow) as line:
        configs = [unit(line, name="two", unit_id=2, tags=TAGS), unit(line, name="one", tags=TAGS)]
        async with connect(configs, ScaledClock(), {}) as driver:
            batches = await collect(driver, 2)
    assert check(batches) >= 3
    assert not [batch for batch in batches if batch.device == "one" and Quality.GOOD in batch.quality]
    assert [notice.device for batch in batches for notice in batch.before if isinstance(notice, DeviceDown)][:1] == ["one"]


@pytest.mark.parametrize("medium", MEDIA)
async def test_an_old_answer_on_a_new_connection_counts_for_nothing(medium: str) -> None:
    """What a unit still owed somebody else arrives as if it were the answer to our first question: the unit is asked again."""
    async with lined(medium) as line:

        async def owed(asked: Asked, answer: bytes, send: Send) -> None:
            send(line.answer(asked.__class__(0, 1, 3, 777, 1)))
            await asyncio.sleep(0.02)
            send(answer)

        line.tricks[0] = owed
        dial = Dial([unit(line)], ScaledClock().now)
        wire = await dial.open(lambda: None)
        reply = await wire.read(1, Block("holding", 100, 1, 1, ()), 0.1)
        await wire.close()
        await dial.close()
    assert reply.raw == (100).to_bytes(2, "big")
    assert [asked.address for asked in line.asked] == [100, 100, 100]


async def test_a_unit_in_step_is_asked_once() -> None:
    """The care costs one request after a connect; after that one question is one request."""
    async with lined("rtu serial") as line:
        dial = Dial([unit(line)], ScaledClock().now)
        wire = await dial.open(lambda: None)
        for _ in range(5):
            await wire.read(1, Block("holding", 100, 1, 1, ()), 0.1)
        await wire.close()
        await dial.close()
    assert len(line.asked) == 6


@pytest.mark.parametrize("medium", ["rtu serial", "rtu over tcp"])
async def test_a_unit_that_left_an_answer_out_is_drained_before_anybody_is_asked(medium: str) -> None:
    """After a timeout the next request waits until the line was silent for as long as answers take, the late one included."""
    async with lined(medium, tricks={2: late(0.15)}) as line:
        dial = Dial([unit(line)], ScaledClock().now)
        wire = await dial.open(lambda: None)
        block, other = Block("holding", 100, 1, 1, ()), Block("holding", 200, 1, 1, ())
        await wire.read(1, block, 0.1)
        with pytest.raises(SilentError):
            await wire.read(1, block, 0.1)
        await wire.close()
        wire = await dial.open(lambda: None)
        reply = await wire.read(1, other, 0.1)
        await wire.close()
        await dial.close()
    assert reply.raw == (200).to_bytes(2, "big")
    assert line.times[3] - line.times[2] > 0.15 + 0.1


async def test_a_line_that_is_never_silent_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another master on the line: nothing is asked, and what to look at is said."""
    monkeypatch.setattr("edge_agent.drivers.modbus.careful.LIMIT", 0.2)
    async with lined("rtu serial") as line:
        dial = Dial([unit(line)], ScaledClock().now)
        wire = await dial.open(lambda: None)

        async def babble(asked: Asked, answer: bytes, send: Send) -> None:
            for _ in range(100):
                send(b"\x55")
                await asyncio.sleep(0.02)

        line.always = babble
        with pytest.raises(InvalidReplyError):
            await wire.read(1, Block("holding", 0, 1, 1, ()), 0.1)
        await wire.close()
        with pytest.raises(DisconnectedError, match=r"is not silent .* is another master there"):
            await dial.open(lambda: None)
        await dial.close()


@pytest.mark.parametrize("medium", MEDIA)
async def test_an_answer_character_by_character_is_right(medium: str) -> None:
    """However the bytes are cut, an answer is an answer."""
    async with (
        lined(medium, value=mine, always=in_single_bytes) as line,
        connect([unit(line, tags=TAGS)], ScaledClock(), {}) as driver,
    ):
        batches = await collect(driver, 0.6)
    assert check(batches) == 3
    assert not gaps(batches)


async def test_frames_on_a_port_are_parted_by_silence() -> None:
    """At 1200 baud 3.5 characters of silence are 32 ms, between every answer and the next request."""
    async with lined("rtu serial") as line:
        answered: list[float] = []

        async def note(asked: Asked, answer: bytes, send: Send) -> None:
            send(answer)
            answered.append(asyncio.get_running_loop().time())

        line.always = note
        config = unit(line, baud=1200)
        dial = Dial([config], ScaledClock().now)
        wire = await dial.open(lambda: None)
        for _ in range(4):
            await wire.read(1, Block("holding", 0, 1, 1, ()), 0.1)
        await wire.close()
        await dial.close()
    assert all(asked - before >= 0.0315 for before, asked in zip(answered, line.times[1:], strict=False))


async def test_the_time_of_the_bytes_is_no_time_of_the_device() -> None:
    """With 10 ms of timeout 125 registers at 1200 baud may take the 2.4 s that their bytes need."""
    async with lined("rtu serial", always=late(0.15)) as line:
        config = unit(line, baud=1200, timeout="10ms")
        dial = Dial([config], ScaledClock().now)
        wire = await dial.open(lambda: None)
        reply = await wire.read(1, Block("holding", 0, 125, 1, ()), 0.01)
        await wire.close()
        await dial.close()
    assert len(reply.raw) == 250


@pytest.mark.parametrize("medium", MEDIA)
async def test_the_look_of_check_works_over_every_line(medium: str) -> None:
    """`check --connect` reads every block, and names what is refused or silent."""
    async with lined(medium, silent={2}) as line:
        configs = [unit(line, name="one"), unit(line, name="two", unit_id=2)]
        found = {name: Inspection(name, "") for name in ("one", "two")}
        await inspect(configs, ScaledClock(), found)
    assert found["one"].answered
    assert found["one"].facts["tags"] == {"configured": 3, "found": 3}
    assert [finding.code for finding in found["two"].findings] == ["unit_silent"]


async def test_a_port_that_is_not_there_is_said_in_words() -> None:
    """What to look at stands in the error, for a missing port, a file that is no port, and one in use."""
    async with lined("rtu serial") as line:
        async with connect([unit(line)], ScaledClock(), {}):
            with pytest.raises(DisconnectedError, match="is in use; is another program"):
                async with connect([unit(line)], ScaledClock(), {}):
                    pass
        for path, words in (
            ("/dev/no-such-port", "does not exist; is the adapter plugged in"),
            ("/dev/null", "is it a serial port"),
        ):
            with pytest.raises(DisconnectedError, match=words):
                async with connect([unit(line, serial=path)], ScaledClock(), {}):
                    pass


async def test_an_adapter_that_is_unplugged_is_said_in_words(tmp_path: Path) -> None:
    """The port vanishes between polls: what was received is delivered first."""
    line = Line()
    closing = contextlib.AsyncExitStack()
    await closing.enter_async_context(over_pty(line))
    adapter = tmp_path / "adapter"  # a name of its own: the terminal's number may be given to somebody else
    adapter.symlink_to(line.path)
    async with connect([unit(line, serial=str(adapter), poll="1h", timeout="500ms")], ScaledClock(), {}) as driver:
        adapter.unlink()
        await closing.aclose()  # for a second the port may come back
        async with asyncio.timeout(5):
            batches = [batch for _ in range(2) for batch in await driver.read()]
            with pytest.raises(DisconnectedError, match="does not exist; is the adapter plugged in"):
                await driver.read()
    assert batches[0].values == [0, 1, 2]


async def test_a_gateway_with_transaction_zero_needs_the_quirk() -> None:
    """With `quirks: tid_zero` its values arrive, with the care of a line without numbers; without it every answer is refused."""

    async def zero(asked: Asked, answer: bytes, send: Callable) -> None:
        await send(b"\0\0" + answer[2:])

    async with serving(Plc(always=zero)) as plc:
        async with connect([device(plc.port, quirks="tid_zero")], ScaledClock(), {}) as driver:
            assert (await driver.read())[0].values == [0, 1, 2]
        with pytest.raises(DisconnectedError, match="transaction 0 instead of 1"):
            async with connect([device(plc.port)], ScaledClock(), {}):
                pass


async def test_the_source_address_is_where_the_connection_comes_from() -> None:
    """A machine in two networks chooses; an address that it does not have is said in words."""
    async with serving(Plc()) as plc:
        async with connect([device(plc.port, source_address="127.0.0.7")], ScaledClock(), {}):
            assert plc.writers[0].get_extra_info("peername")[0] == "127.0.0.7"
        with pytest.raises(DisconnectedError, match=r"source_address 192\.0\.2\.1 is none of this machine's addresses"):
            async with connect([device(plc.port, source_address="192.0.2.1")], ScaledClock(), {}):
                pass
