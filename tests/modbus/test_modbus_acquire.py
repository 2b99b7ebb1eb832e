"""The acquisition: the grid, isolation of a silent unit, calendar polls, trigger groups, the bounded queue, and the plant clock's tricks."""

import asyncio
import contextlib
import itertools

import pytest
from modbus_plc import Asked, Plc, ScaledClock, Send, device, frame, serving

from edge_agent.drivers.modbus import outlet
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.driver import ModbusDriver, connect
from edge_agent.drivers.modbus.outlet import Outlet
from edge_agent.drivers.modbus.schedule import Grid, overrun
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import Batch, DeviceDown, DeviceUp, Gap, Quality, Snapshot
from edge_agent.ports import DeviceWiring, Trigger

MS = 1_000_000


async def collect(driver: ModbusDriver, seconds: float) -> list[Batch]:
    """Read for a while, or until the endpoint is lost."""
    batches: list[Batch] = []
    with contextlib.suppress(TimeoutError, DisconnectedError):
        async with asyncio.timeout(seconds):
            while True:
                batches += await driver.read()
    return batches


def notices(batches: list[Batch], kind: type) -> list:
    """Return the notices of a kind, in order."""
    return [notice for batch in batches for notice in (*batch.before, *batch.after) if isinstance(notice, kind)]


class PromptClock:
    """A plant clock on which nothing is ever late: it goes on only while somebody waits for it, however little time the machine has."""

    speed = 1.0

    def __init__(self) -> None:
        self._now = 1_761_000_000_000_000_000

    def now(self) -> int:
        self._now += 1
        return self._now

    async def sleep_until(self, instant: int) -> None:
        await asyncio.sleep(0)
        self._now = max(self._now, instant)


def test_the_grid_keeps_its_points() -> None:
    """Points are phase + k * period whatever is late; points that passed are counted once."""
    grid = Grid(100, 30, 1000)
    assert grid.due == 1030
    assert (grid.take(1031), grid.due) == (0, 1130)
    assert (grid.take(1229), grid.due) == (0, 1230)
    assert (grid.take(1555), grid.due) == (3, 1630)
    assert not grid.clock_stepped_back(1540)
    assert grid.clock_stepped_back(900)
    assert grid.due == 930


@pytest.mark.parametrize(("missed", "speed", "declared"), [(1, 1.0, True), (5, 30.0, False), (6, 30.0, True), (0, 1.0, False)])
def test_what_is_an_overrun(missed: int, speed: float, declared: bool) -> None:
    """In a plant every missed poll is a gap; a scaled clock forgives what 100 ms of the machine are in its time (2.9 s at 30)."""
    assert overrun(missed, 500 * MS, speed) is declared


async def test_polls_keep_the_grid() -> None:
    """Values are read on fixed points of plant time: as many polls as points, however long each takes."""

    async def slow(asked: Asked, answer: bytes, send: Send) -> None:
        await asyncio.sleep(0.01)
        await send(answer)

    reads = iter(range(10_000))
    plc = Plc(value=lambda unit, address: next(reads), always=slow)
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port, poll="50ms")], clock, {}) as driver:
        batches = await collect(driver, 0.52)
        counts = driver.counts["dev"]
    span = (batches[-1].received - batches[0].received) / (50 * MS)
    assert span > 7
    assert abs(counts.polls - 1 + counts.missed - span) <= 1.5, "one poll or one count for every point"
    assert len([batch for batch in batches if len(batch)]) == counts.polls


async def test_a_slow_device_is_declared_not_stretched() -> None:
    """A device that needs three periods for an answer: what was left out is a gap from the last answer to the next, with its count."""

    async def slow(asked: Asked, answer: bytes, send: Send) -> None:
        await asyncio.sleep(0.07)
        await send(answer)

    plc = Plc(tricks={4: slow})
    batches: list[Batch] = []
    async with serving(plc), connect([device(plc.port)], ScaledClock(), {}) as driver, asyncio.timeout(5):
        while len(plc.asked) < 8:
            batches += await driver.read()
        counts = driver.counts["dev"]
    gaps = notices(batches, Gap)
    assert gaps
    assert {gap.reason for gap in gaps} == {"sampling_overrun"}
    assert 2 <= sum(gap.count for gap in gaps) <= counts.missed
    assert all(gap.until - gap.since >= gap.count * 20 * MS for gap in gaps)
    assert plc.connections == 1


async def test_a_plant_clock_at_thirty_is_kept() -> None:
    """500 ms of a plant at 30 times speed are 16.7 ms of the machine: nearly every point is polled, nothing is declared lost."""
    plc = Plc(value=lambda unit, address: len(plc.asked))
    clock = ScaledClock(30)
    async with serving(plc), connect([device(plc.port, poll="500ms")], clock, {}) as driver:
        batches = await collect(driver, 0.5)
        counts = driver.counts["dev"]
    span = (batches[-1].received - batches[0].received) / (500 * MS)
    assert span >= 25
    assert abs(counts.polls + counts.missed - span) < 3, "every point of the grid was polled or counted"
    assert sum(gap.count for gap in notices(batches, Gap)) <= counts.missed
    assert all(gap.until - gap.since > 2900 * MS for gap in notices(batches, Gap)), (
        "shorter ones are the machine's, not the plant's"
    )


async def test_unchanged_values_make_no_rows_but_signs_of_life() -> None:
    """After the first reading an unchanged device gives empty batches; they say when it last answered."""
    plc = Plc()
    async with serving(plc), connect([device(plc.port)], ScaledClock(), {}) as driver:
        batches = await collect(driver, 0.15)
    assert batches[0].tags == [0, 1, 2]
    assert len(batches) >= 3
    assert not any(batch.tags for batch in batches[1:])
    assert batches[-1].received > batches[0].received + 60 * MS


async def test_signs_of_life_do_not_pile_up() -> None:
    """While nobody reads, one sign of life of a device stands for all just before it; rows, notices and other devices stay in order."""
    box = Outlet()
    row = Batch("a", 3, tags=[0], values=[1], quality=[0], source=[0], server=[0])
    told = Batch("a", 4, before=(DeviceUp("a", 4),))
    for batch in (Batch("a", 1), Batch("a", 2), row, told, Batch("a", 5), Batch("b", 5), Batch("a", 6), Batch("a", 7)):
        box.put([batch])
    assert [(batch.device, batch.received) for batch in await box.take()] == [
        ("a", 2),
        ("a", 3),
        ("a", 4),
        ("a", 5),
        ("b", 5),
        ("a", 7),
    ]


async def test_the_end_comes_after_everything() -> None:
    """What waits is taken before the error is raised, and then it is raised for ever."""
    box = Outlet()
    box.put([Batch("a", 1)])
    box.end(DisconnectedError("gone"))
    assert len(await box.take()) == 1
    for _ in range(2):
        with pytest.raises(DisconnectedError, match="gone"):
            await box.take()


async def test_a_calendar_poll_is_taken_at_its_time_and_reports_everything() -> None:
    """poll_at(t) reads every tag at or after t, changed or not, in between the points of the grid."""
    plc = Plc()
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port, poll="1h")], clock, {}) as driver:
        await driver.read()
        at = clock.now() + 60 * MS
        driver.poll_at(at)
        driver.poll_at(at)
        async with asyncio.timeout(1):
            (batch,) = await driver.read()
    assert at <= batch.received < at + 50 * MS
    assert (batch.tags, batch.values) == ([0, 1, 2], [0, 1, 2])
    assert len(plc.asked) == 2


async def test_a_calendar_poll_in_the_past_is_taken_now() -> None:
    """poll_at(now) is what a shutdown asks for: it does not wait for the grid."""
    plc = Plc()
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port, poll="1h")], clock, {}) as driver:
        await driver.read()
        stop = clock.now()
        driver.poll_at(stop)
        async with asyncio.timeout(1):
            (batch,) = await driver.read()
    assert batch.received >= stop
    assert len(batch) == 3


async def test_polling_survives_a_clock_that_is_set_back() -> None:
    """After the wall clock was set back by an hour polling goes on within a second or two, not after the hour."""
    plc = Plc()
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port)], clock, {}) as driver:
        await driver.read()
        await driver.read()
        clock.stepped = -3_600_000 * MS
        await asyncio.sleep(1.2)
        asked = len(plc.asked)
        await asyncio.sleep(0.1)
        assert len(plc.asked) > asked
        assert all(gap.since <= gap.until for gap in notices(list(await driver.read()), Gap))


async def test_a_clock_that_is_set_forward_is_no_absence() -> None:
    """A wall clock that jumps by ten years declares at most what the machine's own time allows."""
    plc = Plc()
    clock = ScaledClock()
    async with serving(plc), connect([device(plc.port)], clock, {}) as driver:
        await driver.read()
        await driver.read()
        clock.stepped = 315_000_000_000 * MS
        batches = await collect(driver, 0.1)
    assert len(plc.asked) >= 3
    assert all(gap.count < 10 for gap in notices(batches, Gap))


UNITS = [1, 2, 3]


def units(plc: Plc, *numbers: int, **more: object) -> list[ModbusConfig]:
    """Return one device for each unit behind ``plc``."""
    return [device(plc.port, name=f"u{unit}", unit=unit, **more) for unit in numbers]


async def test_one_silent_unit_does_not_take_the_others_with_it() -> None:
    """Of three units behind a gateway one falls silent and comes back: a notice down, a notice up with all its rows, the others polled on."""
    plc = Plc(value=lambda unit, address: unit << 8 | (len(plc.asked) & 0xF))
    async with serving(plc), connect(units(plc, *UNITS, timeout="80ms", probe="1s"), ScaledClock(), {}) as driver:
        first = await collect(driver, 0.1)
        plc.silent = {2}
        dead = await collect(driver, 0.8)
        plc.silent = set()
        back = await collect(driver, 1.2)
    assert [notice.device for notice in notices(first, DeviceUp)] == ["u1", "u2", "u3"]
    (down,) = notices(dead, DeviceDown)
    assert (down.device, notices(dead, DeviceUp)) == ("u2", [])
    assert down.last_good == max(batch.received for batch in first + dead if batch.device == "u2" and len(batch))
    assert "u2 (unit 2 at 127.0.0.1:" in down.error
    for name in ("u1", "u3"):
        assert len([batch for batch in dead if batch.device == name and len(batch)]) >= 10
    (up,) = notices(back, DeviceUp)
    returned = next(batch for batch in back if batch.device == "u2")
    assert (up.device, up.time, returned.tags) == ("u2", returned.received, [0, 1, 2])
    for batch in first + dead + back:
        assert all(value >> 8 == int(batch.device[1:]) for value in batch.values)
    assert plc.connections <= 8, "a new connection after each unanswered request, not more"


async def test_single_unanswered_requests_are_gaps_not_losses() -> None:
    """First one unit leaves a request unanswered, later the other: each is a gap of its own, nobody is down and the endpoint stays."""
    plc = Plc()

    async def stall_once(asked: Asked, answer: bytes, send: Send) -> None:
        if asked.unit in stalling:
            stalling.discard(asked.unit)
        else:
            await send(answer)

    async with serving(plc), connect(units(plc, 1, 2), ScaledClock(), {}) as driver:
        await collect(driver, 0.1)
        plc.always = stall_once
        batches: list[Batch] = []
        for unit in (1, 2):
            stalling = {unit}
            batches += await collect(driver, 0.4)
    assert [gap.device for gap in notices(batches, Gap) if gap.reason == "comm_loss"] == ["u1", "u2"]
    assert not notices(batches, DeviceDown)
    assert plc.connections == 3


async def test_a_unit_that_was_never_there_has_bad_rows() -> None:
    """At connect a silent unit among others gives one bad row for each tag and a notice; no device at all is a failed connect."""
    plc = Plc(silent={2})
    async with serving(plc):
        configs = units(plc, 2, 1)
        async with connect(configs, ScaledClock(), {}) as driver:
            batches = list(await driver.read())
        plc.silent = {1, 2}
        with pytest.raises(DisconnectedError, match="did not answer"):
            async with connect(configs, ScaledClock(), {}):
                pass
    missing = next(batch for batch in batches if batch.device == "u2")
    assert (missing.tags, missing.values, missing.quality) == ([0, 1, 2], [None] * 3, [Quality.BAD] * 3)
    (down,) = notices(batches, DeviceDown)
    assert (down.device, down.last_good) == ("u2", None)
    assert [up.device for up in notices(batches, DeviceUp)] == ["u1"]


@pytest.mark.parametrize("code", [10, 11])
async def test_a_gateway_that_misses_its_unit_keeps_the_connection(code: int) -> None:
    """Exceptions 10 and 11 are the gateway's word for a silent unit: down for it alone, on the same connection; alone it is the endpoint."""

    async def gateway(asked: Asked, answer: bytes, send: Send) -> None:
        await send(answer if asked.unit == 1 else frame(asked.tid, asked.unit, bytes([0x83, code])))

    plc = Plc(always=gateway)
    async with serving(plc):
        configs = units(plc, 1, 2)
        async with connect(configs, ScaledClock(), {}) as driver:
            batches = await collect(driver, 0.15)
        assert [(down.device, f"exception {code}, gateway" in down.error) for down in notices(batches, DeviceDown)] == [
            ("u2", True)
        ]
        assert plc.connections == 1
        with pytest.raises(DisconnectedError, match=f"exception {code}, gateway"):
            async with connect(configs[1:], ScaledClock(), {}):
                pass


TAGS = {f"r{a}": {"register": "holding", "address": a} for a in (0, 1, 2, 50)}


def wiring(*tags: str) -> dict[str, DeviceWiring]:
    """Return the wiring with one trigger group on r0."""
    return {"dev": DeviceWiring(triggers=(Trigger("rec", "r0", tags),))}


def snapshots(batches: list[Batch]) -> list[tuple[Batch, Snapshot]]:
    """Return every snapshot with its batch."""
    return [(batch, snapshot) for batch in batches for snapshot in batch.snapshots]


async def test_a_trigger_group_is_read_after_connect_and_at_each_change() -> None:
    """When r0 changes, r50 and r1 are read in one request of their own; nothing is read while it does not change."""
    plc = Plc(value=lambda unit, address: 7 if address == 0 else len(plc.asked))
    async with serving(plc), connect([device(plc.port, tags=TAGS)], ScaledClock(), wiring("r50", "r1")) as driver:
        (first,) = snapshots(await collect(driver, 0.1))
        plc.value = lambda unit, address: 8 if address == 0 else len(plc.asked)
        (second,) = snapshots(await collect(driver, 0.1))
    for batch, snapshot in (first, second):
        assert (snapshot.group, batch.tags[snapshot.start : snapshot.stop]) == ("rec", [3, 1])
        assert len(set(batch.values[snapshot.start : snapshot.stop])) == 1, "both came from one request"
    assert [(asked.address, asked.count) for asked in plc.asked if asked.count > 3] == [(1, 50)] * 2


async def test_a_group_that_the_poll_already_holds_costs_no_request() -> None:
    """When trigger and tags come from one request anyway, that answer is the snapshot."""
    plc = Plc()
    async with serving(plc), connect([device(plc.port, tags=TAGS, poll="1h")], ScaledClock(), wiring("r2", "r0")) as driver:
        batches = list(await driver.read())
    ((batch, snapshot),) = snapshots(batches)
    assert batch.tags == [0, 1, 2, 2, 0]
    assert (snapshot.start, snapshot.stop, batch.values[3:]) == (3, 5, [2, 0])
    assert len(plc.asked) == 2


async def test_groups_of_a_discarded_poll_are_read_again() -> None:
    """When one group's request gets no valid answer, the whole poll is discarded: both groups fire again with the next one."""

    async def foreign(asked: Asked, answer: bytes, send: Send) -> None:
        await send(b"\xff\xff" + answer[2:])

    plc = Plc(tricks={2: foreign})
    both = {"dev": DeviceWiring(triggers=(Trigger("near", "r0", ("r2",)), Trigger("far", "r0", ("r50", "r1"))))}
    async with serving(plc), connect([device(plc.port, tags=TAGS)], ScaledClock(), both) as driver:
        batches = await collect(driver, 0.1)
    assert [snapshot.group for _, snapshot in snapshots(batches)] == ["near", "far"]


@pytest.mark.parametrize(
    ("group", "tags", "words"),
    [
        (("far",), {**TAGS, "far": {"register": "input", "address": 1}}, None),
        (("r1", "far"), {**TAGS, "far": {"register": "input", "address": 1}}, "only tags of one register area can"),
        (("r1", "far"), {**TAGS, "far": {"register": "holding", "address": 900}}, "one request would need 900 registers"),
        (("nope",), TAGS, "tags that the device does not have: nope"),
    ],
)
async def test_groups_that_cannot_be_read_at_once_are_refused(group: tuple[str, ...], tags: dict, words: str | None) -> None:
    """Whether a group fits one request is known before anything is connected."""
    plc = Plc()
    async with serving(plc):
        expected = contextlib.nullcontext() if words is None else pytest.raises(ConfigError, match=words)
        with expected:
            async with connect([device(plc.port, tags=tags)], ScaledClock(), wiring(*group)):
                pass
    assert plc.connections == (words is None)


async def test_a_change_seen_in_a_discarded_poll_is_not_lost() -> None:
    """When the second request of a poll fails, what the first one brought is reported by the next poll although it did not change again."""

    async def foreign(asked: Asked, answer: bytes, send: Send) -> None:
        plc.tricks.clear()
        await send(b"\xff\xff" + answer[2:])

    plc = Plc()
    async with serving(plc), connect([device(plc.port, tags=TAGS)], ScaledClock(), {}) as driver:
        await collect(driver, 0.05)

        async def change(asked: Asked, answer: bytes, send: Send) -> None:
            plc.value = lambda unit, address: address + 1000
            await send(plc.answer(asked))

        first = next(number for number in itertools.count(len(plc.asked) + 2) if number % 2 == 0)
        plc.tricks = {first: change, first + 1: foreign}
        batches = await collect(driver, 0.15)
    assert len([gap for gap in notices(batches, Gap) if gap.reason == "invalid_reply"]) == 1
    assert {0: 1000, 1: 1001, 2: 1002, 3: 1050}.items() <= {
        tag: value for batch in batches for tag, value in zip(batch.tags, batch.values, strict=True)
    }.items()


async def test_a_full_queue_never_stalls_the_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody reads, polling goes on; what found no room is one declared gap, and the next reading is complete."""
    monkeypatch.setattr(Outlet.__init__, "__defaults__", (10,))
    assert outlet.CAPACITY > 10
    plc = Plc(value=lambda unit, address: len(plc.asked) + address)
    async with serving(plc), connect([device(plc.port, timeout="20s")], PromptClock(), {}) as driver:
        async with asyncio.timeout(20):
            while len(plc.asked) < 12:  # noqa: ASYNC110 - nobody but the device knows
                await asyncio.sleep(0.001)
            kept, later = list(await driver.read()), list(await driver.read())
    assert sum(map(len, kept)) <= 15
    (gap,) = notices(later, Gap)
    assert (gap.reason, gap.since, gap.until) == ("sampling_overrun", kept[-1].received, later[0].received)
    assert gap.count >= 8
    assert later[0].tags == [0, 1, 2]


async def test_tags_with_their_own_period() -> None:
    """A slow tag is polled by its own request on its own grid, beside the fast ones."""
    tags = {"fast": {"register": "holding", "address": 0}, "slow": {"register": "holding", "address": 1, "poll": "1h"}}
    plc = Plc()
    async with serving(plc), connect([device(plc.port, tags=tags)], ScaledClock(), {}) as driver:
        batches = await collect(driver, 0.1)
        assert [tag.period for tag in driver.tags["dev"]] == [20 * MS, 3_600_000 * MS]
    assert sum(asked.address == 1 for asked in plc.asked) == 1
    assert sum(asked.address == 0 for asked in plc.asked) >= 3
    assert sorted(tag for batch in batches for tag in batch.tags) == [0, 1]


async def test_a_pause_is_kept_between_requests() -> None:
    """With pause, a device is left in peace between its answer and the next request."""
    times: list[float] = []

    async def stamp(asked: Asked, answer: bytes, send: Send) -> None:
        times.append(asyncio.get_running_loop().time())
        await send(answer)

    plc = Plc(always=stamp)
    async with (
        serving(plc),
        connect([device(plc.port, tags=TAGS, pause="15ms", connect_pause="30ms")], ScaledClock(), {}) as driver,
    ):
        await collect(driver, 0.1)
    assert all(after - before >= 0.014 for before, after in itertools.pairwise(times))
