"""A device that does everything wrong: the value of one register is never stored under another, and what is missing is declared."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from modbus_plc import Asked, Plc, ScaledClock, Send, Trick, device, frame, serving

from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Gap, Quality, TagStatus

TAGS = {
    "a": {"register": "holding", "address": 100},
    "b": {"register": "holding", "address": 200},
    "c": {"register": "input", "address": 100},
    "d": {"register": "holding", "address": 300, "type": "uint32"},
}
ADDRESS = {0: 100, 1: 200, 2: 100, 3: 300}


class Stamped:
    """Every register holds its own address in the upper bits and a growing number below: a foreign or invented value is recognised."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, unit: int, address: int) -> int:
        self.reads += 1
        return address << 4 | self.reads % 16


async def late(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer after the timeout."""
    await asyncio.sleep(0.15)
    with contextlib.suppress(ConnectionError):
        await send(answer)


async def late_tid_zero(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer after the timeout, without a transaction id."""
    await late(asked, b"\0\0" + answer[2:], send)


def bent(offset: int, value: bytes) -> Trick:
    """Answer with bytes changed."""

    async def trick(asked: Asked, answer: bytes, send: Send) -> None:
        await send(answer[:offset] + value + answer[offset + len(value) :])

    return trick


def pdu(make: str) -> Trick:
    """Answer with another PDU (hex) under the right header."""

    async def trick(asked: Asked, answer: bytes, send: Send) -> None:
        await send(frame(asked.tid, asked.unit, bytes.fromhex(make)))

    return trick


async def next_tid(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer with the next transaction's id."""
    await send(struct.pack(">H", asked.tid + 1) + answer[2:])


async def twice(asked: Asked, answer: bytes, send: Send) -> None:
    """Send the answer and, at once, one for the next transaction."""
    await send(answer + struct.pack(">H", asked.tid + 1) + answer[2:])


async def again_later(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer rightly, and a moment later once more with the next transaction's id."""
    await send(answer)
    await asyncio.sleep(0.002)
    await send(struct.pack(">H", asked.tid + 1) + answer[2:])


async def one_short(asked: Asked, answer: bytes, send: Send) -> None:
    """Answer one register less, consistently."""
    await send(frame(asked.tid, asked.unit, bytes([asked.function, 2 * asked.count - 2]) + answer[9:-2]))


async def cut(asked: Asked, answer: bytes, send: Send) -> None:
    """Send the answer without its last byte."""
    await send(answer[:-1])


async def stall(asked: Asked, answer: bytes, send: Send) -> None:
    """Say nothing."""


async def close(asked: Asked, answer: bytes, send: Send) -> None:
    """Close the connection."""
    raise ConnectionError


TRICKS: dict[str, Trick] = {
    "late": late,
    "late, tid 0": late_tid_zero,
    "tid 0": bent(0, b"\0\0"),
    "wrong tid": bent(0, b"\xab\xcd"),
    "next tid": next_tid,
    "wrong unit": bent(6, b"\x09"),
    "wrong function": bent(7, b"\x02"),
    "echo of a coil write": pdu("05 0000 FF00"),
    "wrong byte count": bent(8, b"\x08"),
    "one register short": one_short,
    "cut": cut,
    "length 60000": bent(4, b"\xea\x60"),
    "foreign protocol": bent(2, b"\0\x01"),
    "empty pdu": pdu(""),
    "garbage": bent(0, bytes(range(200, 209))),
    "two frames in one": twice,
    "a second answer later": again_later,
    "stall": stall,
    "close": close,
}


def check(batch: Batch) -> None:
    """Fail when a row holds what its own register never held."""
    for index, value, quality in zip(batch.tags, batch.values, batch.quality, strict=True):
        if quality == Quality.BAD:
            assert value is None
            continue
        assert isinstance(value, int)
        word = value >> 16 if index == 3 else value
        assert word >> 4 == ADDRESS[index], f"tag {index} has the value of register {word >> 4}"
        assert index != 3 or (value & 0xFFFF) >> 4 == 301


async def collect(driver: ModbusDriver, seconds: float, enough: Callable[[list[Batch]], bool] = lambda _: False) -> list[Batch]:
    """Read for a while, or until the endpoint is lost or there is enough; every row is checked."""
    batches: list[Batch] = []
    with contextlib.suppress(TimeoutError, DisconnectedError):
        async with asyncio.timeout(seconds):
            while not enough(batches):
                batches += await driver.read()
    for batch in batches:
        check(batch)
    return batches


def notices(batches: list[Batch], kind: type) -> list:
    """Return the notices of a kind, in order."""
    return [notice for batch in batches for notice in (*batch.before, *batch.after) if isinstance(notice, kind)]


def invalid(batches: list[Batch]) -> list[Gap]:
    """Return the gaps of discarded answers; a busy machine may overrun a grid of 20 ms and say so, which is no matter here."""
    gaps = notices(batches, Gap)
    assert {gap.reason for gap in gaps} <= {"invalid_reply", "sampling_overrun"}
    return [gap for gap in gaps if gap.reason == "invalid_reply"]


@contextlib.asynccontextmanager
async def opened(plc: Plc, **more: object) -> AsyncIterator[ModbusDriver]:
    """Connect to ``plc`` with the tags of this file."""
    async with connect([device(plc.port, tags=TAGS, **more)], ScaledClock(), {}) as driver:
        yield driver


@pytest.mark.parametrize("name", TRICKS)
async def test_no_fault_puts_a_value_under_another_tag(name: str) -> None:
    """One bad answer among good ones: its poll is discarded as a whole, the connection never used again, and the hole declared."""
    plc = Plc(value=Stamped(), tricks={13: TRICKS[name]})
    async with serving(plc), opened(plc) as driver:
        batches = await collect(driver, 5, lambda batches: bool(invalid(batches)) or (name == "close" and len(plc.asked) > 30))
    assert len([batch for batch in batches if len(batch)]) >= 8
    gaps, down = invalid(batches), notices(batches, DeviceDown)
    if down:  # the only device is silent or gone: the link must open it anew
        assert name in {"late", "late, tid 0", "cut", "stall"}
        last = [batch for batch in batches if len(batch) and batch.received >= (down[0].last_good or 0)]
        told = [tag for batch in last for tag in batch.tags]
        assert down[0].last_good == last[0].received
        assert len(told) == len(set(told)), "the gap begins with the first answer of the last whole poll"
    else:
        assert plc.connections == 2
        assert len(gaps) == (name != "close"), "nothing late can follow a close: the request was made again on the next connection"
    if gaps and not down:
        before = [batch.received for batch in batches if len(batch) and batch.received <= gaps[0].since]
        assert gaps[0].since in before
        assert any(batch.received == gaps[0].until for batch in batches if batch.tags)


@pytest.mark.parametrize("name", TRICKS)
async def test_a_device_that_only_ever_answers_so_is_refused(name: str) -> None:
    """A device that answers every request wrongly never delivers a row; connecting says so in words, and in bounded time."""
    plc = Plc(value=Stamped(), always=TRICKS[name])
    async with serving(plc):
        async with asyncio.timeout(2):
            with pytest.raises(DisconnectedError, match=f"127.0.0.1:{plc.port}"):
                async with opened(plc):
                    pass
    assert plc.connections <= 3


async def test_an_answer_in_single_bytes_is_right() -> None:
    """A reply cut into one-byte segments is a reply."""

    async def slowly(asked: Asked, answer: bytes, send: Send) -> None:
        for byte in answer:
            await send(bytes([byte]))
            await asyncio.sleep(0)

    plc = Plc(value=Stamped(), always=slowly)
    async with serving(plc), opened(plc) as driver:
        batches = await collect(driver, 0.2)
    assert len(batches) > 8
    assert not invalid(batches)


@pytest.mark.parametrize(
    ("code", "asked_again", "words"),
    [
        (1, False, "illegal function"),
        (2, False, "illegal data address: an address in this range does not exist; correct it, or lower max_gap"),
        (3, False, "lower max_registers"),
        (4, True, "server device failure"),
        (5, True, "the device needs longer"),
        (6, True, "busy"),
        (8, True, "parity"),
        (99, True, "not in the standard"),
    ],
)
async def test_exceptions_become_bad_quality(code: int, asked_again: bool, words: str) -> None:
    """An exception makes the block's tags bad with its reason, once; the others go on; only 1 to 3 are a matter of configuration."""

    async def refuse(asked: Asked, answer: bytes, send: Send) -> None:
        right = (asked.function, asked.address) != (3, 200)
        await send(answer if right else frame(asked.tid, asked.unit, bytes([0x83, code])))

    plc = Plc(value=Stamped(), always=refuse)
    async with serving(plc), opened(plc) as driver:
        batches = await collect(driver, 0.2)
    bad = [batch.details[row] for batch in batches for row in range(len(batch)) if batch.quality[row] == Quality.BAD]
    assert len(bad) == 1
    assert bad[0].startswith(f"holding 200-200: exception {code}, ")
    assert words in bad[0]
    assert len({batch.received for batch in batches if 0 in batch.tags}) >= 5
    asked = sum(asked.address == 200 for asked in plc.asked)
    assert asked >= 5 if asked_again else asked == 1
    told = [(status.name, status.ok) for status in notices(batches, TagStatus)]
    assert told == ([] if asked_again else [("b", False)])
    assert plc.connections == 1


async def test_a_refused_address_is_tried_again_and_reported_when_it_answers() -> None:
    """After 30 s of plant time the refused block is asked for again; when it answers, its tags are found and have values."""

    async def refuse(asked: Asked, answer: bytes, send: Send) -> None:
        await send(frame(asked.tid, asked.unit, b"\x83\x02"))

    plc = Plc(value=Stamped(), tricks={1: refuse})
    async with serving(plc):
        config = device(plc.port, tags=TAGS, poll="5s")
        async with connect([config], ScaledClock(200), {}) as driver:
            batches = await collect(driver, 0.3)
    assert [(status.name, status.ok) for status in notices(batches, TagStatus)] == [("b", False), ("b", True)]
    good = [batch for batch in batches if 1 in batch.tags and batch.quality[batch.tags.index(1)] == Quality.GOOD]
    assert good[0].before[0].ok is True


async def test_a_busy_device_is_asked_once_more_at_once() -> None:
    """Exception 6 alone does not make a tag bad: the second try of the same poll answers."""

    async def busy(asked: Asked, answer: bytes, send: Send) -> None:
        await send(frame(asked.tid, asked.unit, b"\x83\x06"))

    plc = Plc(value=Stamped(), tricks={5: busy})
    async with serving(plc), opened(plc) as driver:
        batches = await collect(driver, 0.15)
    assert all(quality == Quality.GOOD for batch in batches for quality in batch.quality)


async def test_nobody_there_is_said_in_words() -> None:
    """A refused connection names the place and what to look at."""
    async with serving(Plc()) as plc:
        port = plc.port
    with pytest.raises(DisconnectedError, match=f"127.0.0.1:{port} refuses the connection; is Modbus TCP switched on there"):
        async with connect([device(port)], ScaledClock(), {}):
            pass


async def test_an_unknown_name_is_said_in_words() -> None:
    """A host name that nobody knows is told apart from a device that is off."""
    with pytest.raises(DisconnectedError, match="the name is not known"):
        async with connect([device(502, host="no-such-device.invalid")], ScaledClock(), {}):
            pass


async def test_a_silent_device_is_said_in_words() -> None:
    """Who was asked what, and how long was waited."""
    plc = Plc(always=stall)
    async with serving(plc):
        with pytest.raises(
            DisconnectedError, match=r"dev \(unit 1 at .*\) did not answer a read of holding 0-2 within 0.1 s; is it on"
        ):
            async with connect([device(plc.port)], ScaledClock(), {}):
                pass
    assert len(plc.asked) == 1


async def test_a_lost_connection_is_seen_between_polls() -> None:
    """A peer that goes away is noticed at once, although the next poll is an hour away; what was received is delivered first."""
    plc = Plc()
    server = serving(plc)
    await server.__aenter__()
    async with connect([device(plc.port, poll="1h")], ScaledClock(), {}) as driver:
        await server.__aexit__(None, None, None)
        async with asyncio.timeout(3):
            batches = [batch for _ in range(2) for batch in await driver.read()]
            with pytest.raises(DisconnectedError, match="refuses the connection"):
                await driver.read()
        with pytest.raises(DisconnectedError):
            await driver.read()
    assert isinstance(batches[0].before[0], DeviceUp)
    assert batches[0].values == [0, 1, 2]
    (down,) = notices(batches, DeviceDown)
    assert down.last_good == batches[0].received
