"""Values that a device changes word by word count only when two reads in a row bring them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from modbus_plc import Asked, Plc, ScaledClock, Send, device, serving

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.driver import connect
from edge_agent.drivers.modbus.plan import Block, plan
from edge_agent.drivers.modbus.twice import MOST, ask_twice, differing
from edge_agent.drivers.modbus.wire import RefusedError, Reply
from edge_agent.model.reading import Quality, Value
from edge_agent.ports import DeviceWiring, Trigger

UNSTEADY = "no two of 4 reads in a row brought the same value (read_twice)"

TAGS = {
    "count": {"register": "holding", "address": 0, "type": "uint32", "read_twice": True},
    "speed": {"register": "holding", "address": 2},
}


def config(tags: dict[str, dict[str, object]] | None = None) -> ModbusConfig:
    """Return a device with a guarded counter and an unguarded speed."""
    return device(1, tags=tags or TAGS)


class Script:
    """Answers one request after the other with prepared registers; the last answer stays."""

    def __init__(self, *answers: Sequence[int] | RefusedError) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, block: Block) -> Reply:
        self.asked += 1
        words = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(words, RefusedError):
            raise words
        return Reply(b"".join(word.to_bytes(2, "big") for word in words), self.asked, self.asked - 1)


def block(of: ModbusConfig) -> Block:
    """Return the one block of a device."""
    (only,) = plan(fields_of(of), of.limits)
    return only


@pytest.mark.parametrize(
    ("answers", "asked", "value", "unsteady"),
    [
        ([(0, 65535, 7)], 2, 65535, ()),
        ([(0, 65535, 7), (0, 65535, 8)], 2, 65535, ()),  # another register of the block may move
        ([(0, 65535, 7), (0, 0, 7), (1, 0, 7)], 4, 65536, ()),  # caught between the words: 0 is never told
        ([(0, 65535, 7), (1, 65535, 7), (1, 0, 7)], 4, 65536, ()),
        ([(0, 1, 7), (0, 2, 7), (0, 3, 7), (0, 4, 7), (0, 4, 7)], MOST, 4, (0,)),  # bounded
    ],
)
async def test_two_in_a_row(answers: list[tuple[int, ...]], asked: int, value: int, unsteady: tuple[int, ...]) -> None:
    """Reading goes on until the guarded registers came twice in a row, four times at most; the last answer is the one that is used."""
    script = Script(*answers)
    reply, left = await ask_twice(script, block(config()))
    assert (script.asked, int.from_bytes(reply.raw[:4], "big"), tuple(left)) == (asked, value, unsteady)
    assert (reply.at, reply.asked) == (asked, asked - 1)


async def test_what_is_not_guarded_is_asked_for_once() -> None:
    """The plain block costs one request."""
    script = Script((1, 2, 3))
    plain = block(device(1))
    assert plain.reads == 1
    assert (await ask_twice(script, plain))[1] == frozenset()
    assert script.asked == 1


async def test_a_refusal_passes_through() -> None:
    """An exception answer to the second read is an exception answer."""
    with pytest.raises(RefusedError):
        await ask_twice(Script((1, 2, 3), RefusedError(4, 9)), block(config()))


def test_the_scale_register_is_guarded_too() -> None:
    """A value and its scale that do not belong together are no value: both must come twice."""
    tags = {
        "w": {"register": "holding", "address": 0, "scale_from": {"exponent": "sf"}, "read_twice": True},
        "sf": {"register": "holding", "address": 1, "type": "int16"},
    }
    guarded = block(config(tags))
    assert guarded.reads == 2
    assert differing(guarded, bytes(4), b"\0\0\0\1") == frozenset({0})


async def test_an_unsteady_value_has_bad_quality_and_comes_back() -> None:
    """Its rows say why; the other tags of the block keep their values; the next steady value is good, and nothing is told twice."""
    one = Device(config(), DeviceWiring())

    async def poll(*answers: Sequence[int]) -> list[tuple[int, Value | None, Quality, str | None]]:
        (batch,) = await one.poll(one.watches, Script(*answers), 0)
        rows = zip(batch.tags, batch.values, batch.quality, strict=True)
        return [(*row, batch.details.get(place)) for place, row in enumerate(rows)]

    moving = ((0, 1, 7), (0, 2, 7), (0, 3, 7), (0, 4, 7))
    assert await poll((0, 1, 7)) == [(0, 1, Quality.GOOD, None), (1, 7, Quality.GOOD, None)]
    assert await poll(*moving) == [(0, None, Quality.BAD, UNSTEADY)]
    assert await poll(*moving) == []
    assert await poll((0, 4, 8)) == [(0, 4, Quality.GOOD, None), (1, 8, Quality.GOOD, None)]
    assert await poll((0, 4, 8)) == []


async def test_a_snapshot_has_no_unsteady_value() -> None:
    """A group that is read when a trigger changes says of a moving counter that it has no value."""
    wiring = DeviceWiring(triggers=(Trigger("record", "speed", ("count", "speed")),))
    one = Device(config(), wiring)
    (batch,) = await one.poll(one.watches, Script((0, 1, 7), (0, 2, 7), (0, 3, 7), (0, 4, 7)), 0)
    (snapshot,) = batch.snapshots
    assert batch.values[snapshot.start : snapshot.stop] == [None, 7]


async def test_a_device_that_updates_word_by_word_invents_nothing() -> None:
    """On the wire: every good value of a counter that is torn in each second answer is one that the counter had."""
    steps = iter(range(10_000))

    async def torn(asked: Asked, right: bytes, send: Send) -> None:
        # The low word is written first; the high word follows one answer later.
        step = next(steps)
        count = 65_530 + 4 * (step // 5)
        high, low = count >> 16, count & 0xFFFF
        if step % 5 == 0:
            high = (count - 4) >> 16
        await send(right[:9] + high.to_bytes(2, "big") + low.to_bytes(2, "big") + right[13:])

    clock = ScaledClock()
    good: list[int] = []
    async with (
        serving(Plc(always=torn)) as plc,
        connect([device(plc.port, tags=TAGS, poll="10ms")], clock, {}) as driver,
    ):
        while not good or good[-1] < 65_550:
            for batch in await driver.read():
                rows = zip(batch.tags, batch.values, batch.quality, strict=True)
                good += [value for tag, value, quality in rows if tag == 0 and quality is Quality.GOOD and isinstance(value, int)]
    assert good == sorted(good)
    assert set(good) <= {65_530 + 4 * step for step in range(100)}
    assert len(plc.asked) >= 2 * len(good)
