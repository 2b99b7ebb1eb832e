"""What a read costs, what the polls of a connection need, and when their periods cannot hold."""

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.drivers.modbus.breaker import SHARE
from edge_agent.drivers.modbus.bus import Bus
from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.load import loads, overloads
from edge_agent.drivers.modbus.plan import FEWEST, Block, plan
from edge_agent.drivers.modbus.schedule import phases
from edge_agent.drivers.modbus.serialline import SerialLine

MS = 1_000_000
RTU = Bus("rtu", SerialLine(9600, 8, "even", 1))
FAST = Bus("rtu", SerialLine(38_400, 8, "even", 1))
ASCII = Bus("ascii", SerialLine(9600, 7, "even", 1))
TCP = Bus("tcp", None)


def block(area: str, count: int) -> Block:
    """Return a read of ``count`` addresses."""
    return Block(area, 0, count, 1, ())


def device(name: str, unit: int, count: int, **more: object) -> ModbusConfig:
    """Return a device on the line with ``count`` registers in a row."""
    tags = {f"r{n}": {"register": "holding", "address": n} for n in range(count)}
    base = {"version": 1, "device": name, "driver": "modbus", "serial": "/dev/ttyUSB0", "unit_id": unit, "tags": tags}
    return ModbusConfig.model_validate({**base, **more})


@pytest.mark.parametrize(
    ("bus", "area", "count", "size", "seconds"),
    [
        (TCP, "holding", 10, 12 + 29, 0.0),
        (TCP, "coil", 9, 12 + 11, 0.0),
        (RTU, "holding", 10, 8 + 25, (33 + 7) * 11 / 9600),
        (RTU, "coil", 2000, 8 + 255, (263 + 7) * 11 / 9600),
        (FAST, "holding", 10, 33, 33 * 11 / 38_400 + 2 * 0.00175),
        (ASCII, "holding", 10, 17 + 51, 68 * 10 / 9600),
        (Bus("tcp", RTU.line), "holding", 10, 41, (33 + 7) * 11 / 9600),
        (RTU._replace(pause=20 * MS), "holding", 10, 33, (33 + 7) * 11 / 9600 + 0.02),
    ],
)
def test_bytes_and_seconds_of_a_read(bus: Bus, area: str, count: int, size: int, seconds: float) -> None:
    """A read has the bytes of its framing; on a line each character takes its bits, and RTU is silent for 3.5 characters before each frame."""
    assert bus.bytes_of(block(area, count)) == size
    assert bus.seconds(block(area, count)) == pytest.approx(seconds)
    assert bus.seconds(block(area, count), 10 * MS) == pytest.approx(seconds + 0.01)


def test_a_gap_is_read_as_far_as_it_pays() -> None:
    """Over TCP every gap that max_gap allows is read; at 9600 baud only one that takes less time than another request."""
    assert TCP.request == FEWEST
    tags = {
        "a": {"register": "holding", "address": 0},
        "b": {"register": "holding", "address": 12},
        "c": {"register": "holding", "address": 40},
    }
    slow = device("slow", 1, 1, baud=9600, max_gap=124, tags=tags)
    assert [block.name for block in plan(fields_of(slow), slow.limits)] == ["holding 0-12", "holding 40-40"]
    over = ModbusConfig.model_validate({**slow.model_dump(exclude={"serial", "baud", "framing"}, exclude_unset=True), "host": "h"})
    assert [block.name for block in plan(fields_of(over), over.limits)] == ["holding 0-40"]
    behind = ModbusConfig.model_validate({**over.model_dump(exclude_unset=True), "baud": 9600})
    assert [block.name for block in plan(fields_of(behind), behind.limits)] == ["holding 0-12", "holding 40-40"]


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(1, 25), min_size=2, max_size=30))
def test_phases_keep_polls_apart(tenths: list[int]) -> None:
    """Whatever the periods, no two grids have a point in common while their common divisor has room, and equal periods lie evenly."""
    periods = [100 * MS * tenth for tenth in tenths]
    found = phases(periods)
    assert found == phases(periods)
    for (one, phase), (other, its) in combinations(zip(periods, found, strict=True), 2):
        assert (phase - its) % math.gcd(one, other) != 0
    assert all(0 <= phase < period for phase, period in zip(found, periods, strict=True))


def test_phases_of_equal_polls_are_even() -> None:
    """Four polls of a second and two of two seconds: nobody waits for more than one other."""
    assert [phase // MS for phase in phases([1000 * MS] * 4)] == [0, 250, 500, 750]
    assert [phase // MS for phase in phases([1000 * MS, 2000 * MS, 2000 * MS])] == [0, 333, 1666]


def test_the_load_of_a_line() -> None:
    """The polls of all units of a line are added up; a dead unit takes its timeout once, and then its share."""
    (load,) = loads(
        [device("a", 1, 10, baud=9600, poll="500ms"), device("b", 2, 10, baud=9600, poll="1s", timeout="200ms")], 10 * MS
    )
    once = 40 * 11 / 9600 + 0.01
    assert [poll.seconds for poll in load.polls] == [pytest.approx(once)] * 2
    assert load.share == pytest.approx(3 * once)
    assert load.dead is not None
    assert (load.dead.device, load.dead.timeout, load.dead.share) == ("a", 1.0, SHARE)
    assert load.problems == ()


def test_what_cannot_hold_is_said_once() -> None:
    """A line whose bytes alone need more than all its time is refused, once, however fast the devices answer; the remedy has the number."""
    two = [device(name, unit, 125, baud=9600, poll="500ms") for name, unit in (("a", 1), ("b", 2))]
    ((number, text),) = overloads(list(enumerate(two)))
    assert number == 0
    assert text.startswith(
        "modbus-rtu:/dev/ttyUSB0: the polls need 124% of the connection's time; make their periods at least 1.3 times as long"
    )
    assert overloads(list(enumerate(two[:1]))) == []
    assert overloads([(0, two[0]), (1, device("b", 2, 125, baud=9600, poll="2s"))]) == []


def test_a_long_poll_in_the_way_is_said() -> None:
    """Time enough is not all: a poll of a device is not interrupted, so one that takes longer than another's period makes that one late."""
    (load,) = loads([device("meter", 1, 600, baud=9600, poll="20s"), device("plc", 2, 1, baud=9600, poll="500ms")])
    assert load.share < 0.2
    (text,) = load.problems
    assert text.startswith("modbus-rtu:/dev/ttyUSB0: plc is polled every 500ms, but one poll of meter takes 1.")
    assert "make that period at least" in text
