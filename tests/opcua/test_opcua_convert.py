"""Quality, plausible times, declared types, scale and bounds; order and bounds of what is queued; what is asked of a server."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.opcua.convert import Converter, overflowed, quality_of
from edge_agent.drivers.opcua.floors import Floors
from edge_agent.drivers.opcua.inbox import Inbox, Receipt
from edge_agent.drivers.opcua.pace import Pace, counts, publishing_ms, sampling
from edge_agent.drivers.opcua.report import state_floor
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.variant import Structure
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, Gap, Quality, Tag, TagStatus

NOW = 1_800_000_000 * 10**9
SECOND = 10**9
INT32, FLOAT, TEXT = 6, 10, 12


def one(
    kind: int, value: Any, status: int = 0, source: int = NOW, server: int = NOW, tag: Tag | None = None
) -> tuple[Any, int, str | None]:
    """Convert one row and return value, quality and detail."""
    rows = Columns()
    rows.append(0, kind=kind, value=value, status=status, source=source, server=server)
    batch = Converter("d", [tag or Tag("d", "t")], lambda code: f"S{code:08X}").batch(rows, NOW, 5 * SECOND)
    return batch.values[0], batch.quality[0], batch.details.get(0)


@pytest.mark.parametrize(
    ("status", "quality"),
    [(0, 0), (0x0480, 0), (0x00300000, 0), (0x40000000, 1), (0x40900000, 1), (0x80000000, 2), (0x803F0000, 2), (0xC0000000, 2)],
)
def test_severity_bits_decide_the_quality(status: int, quality: int) -> None:
    """Not zero but the two top bits decide; the reserved combination is bad."""
    assert quality_of(status) == Quality(quality)
    assert one(INT32, 1, status) == (1, quality, f"S{status:08X}" if quality else None)


@pytest.mark.parametrize(
    ("status", "lost"), [(0x0480, True), (0x80000480, True), (0x0400, False), (0x0080, False), (0, False), (0x0C80, False)]
)
def test_overflow_needs_its_info_type(status: int, lost: bool) -> None:
    """The Overflow bit counts only where the info bits belong to a data value."""
    assert overflowed(status) is lost


@pytest.mark.parametrize(
    ("kind", "value", "kept", "why"),
    [
        (FLOAT, math.nan, None, "the value is nan"),
        (11, math.inf, None, "the value is inf"),
        (11, -math.inf, None, "the value is -inf"),
        (0, None, None, "no value"),
        (TEXT, "x" * 70_000, "x" * 65_536, "70000 characters, cut at 65536"),
        (TEXT, "a\udcff", "a?", "the text is not UTF-8"),
        (15, b"x" * 70_000, b"x" * 65_536, "70000 bytes, cut at 65536"),
        (0x86, tuple(range(10_001)), None, "10001 elements, 10000 are allowed"),
        (0x8A, (1.0, math.nan), None, "in the array: the value is nan"),
        (22, Structure("i=5", b""), None, "a structure is not supported"),
        (13, 10**30, None, "no date: before 1601, after 9999, or never set"),
        (13, -11_644_473_600 * 10**9, None, "no date: before 1601, after 9999, or never set"),
    ],
)
def test_values_that_are_none_are_bad_with_the_reason(kind: int, value: Any, kept: Any, why: str) -> None:
    """Nothing becomes null or huge by accident."""
    assert one(kind, value) == (kept, 2, why)


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (9, 2**64 - 1, 2**64 - 1), (11, -0.0, -0.0), (TEXT, None, ""), (TEXT, "Überlauf", "Überlauf"), (1, True, True), (15, b"\0", b"\0"),
        (0xC6, ((1, 2), (3, 4)), ((1, 2), (3, 4))), (13, 10**9, "1970-01-01T00:00:01.000000Z"),
    ],
)  # fmt: skip
def test_values_pass_unchanged(kind: int, value: Any, kept: Any) -> None:
    """The extremes of every type that is supported stay what they are, and good."""
    assert one(kind, value) == (kept, 0, None)


@pytest.mark.parametrize(
    ("source", "server", "kept", "quality"),
    [
        (NOW + 4 * SECOND, NOW, (NOW + 4 * SECOND, NOW), 0),
        (NOW + 6 * SECOND, NOW, (0, NOW), 1),
        (0, NOW + 6 * SECOND, (0, 0), 1),
        (NOW, NOW + 6 * SECOND, (NOW, 0), 0),
        (10**18 // 2, NOW, (0, NOW), 1),
        (-11_644_473_600 * SECOND, NOW, (0, NOW), 0),
        (253_402_300_799 * SECOND, NOW, (0, NOW), 0),
        (-(2**62) * 100, 2**62 * 100, (0, 0), 0),
        (0, 0, (0, 0), 0),
    ],
)
def test_times_that_cannot_be_are_unknown(source: int, server: int, kept: tuple[int, int], quality: int) -> None:
    """Future and prehistoric times are dropped and make the row uncertain where they would have been its time; extremes mean unknown."""
    rows = Columns()
    rows.append(0, kind=INT32, value=1, source=source, server=server)
    batch = Converter("d", [Tag("d", "t")], str).batch(rows, NOW, 5 * SECOND)
    assert ((batch.source[0], batch.server[0]), batch.quality[0]) == (kept, quality)


def test_a_type_other_than_declared_is_bad_and_keeps_its_raw_value() -> None:
    """Declared int32, sent float, array or nothing; localized text passes as string."""
    tag = Tag("d", "t", "int32")
    assert one(FLOAT, 1.5, tag=tag) == (1.5, 2, "type changed: int32 expected, the device sends float32")
    assert one(0x86, (1,), tag=tag) == ((1,), 2, "type changed: int32 expected, the device sends an array of int32")
    assert one(21, "Halt", tag=Tag("d", "t", "string")) == ("Halt", 0, None)


def test_an_undeclared_type_is_learnt_and_then_kept() -> None:
    """The first good value decides; a bad one does not."""
    converter = Converter("d", [Tag("d", "t")], lambda _: "bad")
    rows = Columns()
    for kind, value, status in ((TEXT, "", 0x80000000), (INT32, 1, 0), (FLOAT, 2.0, 0), (INT32, 3, 0)):
        rows.append(0, kind=kind, value=value, status=status, source=NOW)
    assert converter.batch(rows, NOW, SECOND).quality == [2, 0, 2, 0]


def test_scale_and_offset_apply_to_numbers_only() -> None:
    """Numbers are scaled, good or bad, truth values are not, and a number that leaves the range is bad."""
    tag = Tag("d", "t", scale=0.1, offset=-10.0)
    assert one(INT32, 200, tag=tag) == (10.0, 0, None)
    assert one(INT32, 200, 0x80000000, tag=tag)[:2] == (10.0, 2)
    assert one(1, True, tag=tag) == (True, 0, None)
    assert one(11, 1e308, tag=Tag("d", "t", scale=10.0)) == (None, 2, "out of range after scaling")


def test_the_state_of_the_server_lowers_every_value() -> None:
    """A failed server has no good values, one in shutdown doubtful ones."""
    rows = Columns()
    rows.append(0, kind=INT32, value=1, source=NOW)
    batch = Converter("d", [Tag("d", "t")], str).batch(rows, NOW, SECOND, state_floor(1))
    assert (batch.quality, batch.details) == ([2], {0: "server state Failed"})
    assert state_floor(4) == (Quality.UNCERTAIN, "server state Shutdown")
    assert state_floor(0) is None
    assert state_floor(None) is None


def rows_of(*samples: tuple[int, Any, int]) -> Columns:
    """Return rows of (handle, value, source time)."""
    rows = Columns()
    for handle, value, source in samples:
        rows.append(handle, kind=INT32, value=value, source=source)
    return rows


def test_the_first_sample_after_a_baseline_is_dropped_only_if_it_is_the_same() -> None:
    """A value that changed between Read and subscription is news."""
    floors = Floors()
    floors.baseline(rows_of((0, 1, 10), (1, 1, 10)))
    assert floors.admitted(rows_of((0, 1, 10), (1, 2, 12), (0, 1, 10)), 0.0).values == [2, 1]


def test_samples_that_a_read_overtook_are_dropped_for_a_while() -> None:
    """Older samples would let a counter step back; after the time a clock set back loses nothing."""
    floors = Floors()
    floors.raise_to(rows_of((0, 5, 100)), until=2.0)
    assert floors.admitted(rows_of((0, 4, 90), (0, 5, 100), (1, 1, 50), (0, 6, 110)), 1.0).values == [1, 6]
    floors.raise_to(rows_of((0, 5, 100)), until=2.0)
    assert floors.admitted(rows_of((0, 3, 80)), 2.5).values == [3]


def test_without_times_a_value_that_returns_is_still_news() -> None:
    """A device without timestamps that goes 5, 6, 5 after a Read of 5 is reported as it goes."""
    floors = Floors()
    floors.raise_to(rows_of((0, 5, 0)), until=2.0)
    assert floors.admitted(rows_of((0, 5, 0), (0, 6, 0), (0, 5, 0)), 1.0).values == [6, 5]


def test_what_overtook_a_read_stands_in_its_place() -> None:
    """A Read that comes in behind a newer sample is no news of that tag; a group, which is whole, has the newer one. Without times it is the same."""
    floors = Floors()
    floors.admitted(rows_of((0, 9, 900)), 1.0)  # before the Read was asked for: it says nothing of it
    with floors.reading() as beside:
        floors.admitted(rows_of((0, 6, 110), (1, 7, 110), (2, 8, 0)), 1.0)
        read = rows_of((0, 5, 100), (1, 8, 120), (2, 7, 0), (3, 1, 10))
        assert beside.fresh(read).values == [8, 1]
        assert beside.fresh(read, {0}).values == [5, 8, 1]
        assert beside.newest(read).values == [6, 8, 8, 1]
    floors.admitted(rows_of((3, 2, 20)), 1.0)
    assert beside.fresh(rows_of((3, 1, 10))).values == [1]


def test_an_overflow_beside_a_read_is_told_once() -> None:
    """A group takes the value of an overtaking sample, and not its overflow bit: that was declared with the sample."""
    floors, rows = Floors(), rows_of((0, 6, 110))
    rows.status[0] = 0x480
    with floors.reading() as beside:
        floors.admitted(rows, 1.0)
        newest = beside.newest(rows_of((0, 5, 100)))
    assert (newest.values, newest.status, rows.status) == ([6], [0], [0x480])


def inbox(limit: int = 4) -> tuple[Inbox, list[Receipt], list[str]]:
    """Return an inbox with the receipts it released and the devices it asked to read anew."""
    accepted: list[Receipt] = []
    room: list[str] = []
    return Inbox(limit, accepted.append, room.append), accepted, room


def batch(number: int, rows: int = 1) -> Batch:
    """Return a batch received at ``number``."""
    return Batch("d", number, [0] * rows, [number] * rows, [0] * rows, [0] * rows, [0] * rows)


async def test_receipts_are_released_by_the_next_take() -> None:
    """What was handed out counts as accepted only when the reader comes back."""
    box, accepted, _ = inbox()
    box.put(batch(1), Receipt(7, 1))
    assert len(await box.take()) == 1
    box.put(batch(2), Receipt(7, 2))
    assert accepted == []
    await box.take()
    assert accepted == [Receipt(7, 1)]


async def test_a_full_inbox_drops_declares_and_keeps_notices() -> None:
    """The next batch begins with the gap and with the notices of what was dropped."""
    box, accepted, room = inbox()
    box.put(batch(1, 3))
    lost = batch(2, 2)
    lost.before = (TagStatus("d", 2, "t", False),)
    box.put(lost, Receipt(7, 2))
    box.put(batch(3, 2))
    assert accepted == [Receipt(7, 2)]
    await box.take()
    assert room == ["d"]
    box.put(batch(4))
    (after,) = await box.take()
    assert after.before == (Gap("d", "sampling_overrun", 1, 4, (), 4), TagStatus("d", 2, "t", False))


async def test_a_batch_above_the_bound_passes_when_nothing_waits() -> None:
    """A baseline larger than the bound must not be dropped for ever."""
    box, _, _ = inbox(limit=2)
    box.put(batch(1, 5))
    assert len((await box.take())[0]) == 5


async def test_a_failure_comes_after_everything_received() -> None:
    """What was there before the loss is returned first, then each call raises."""
    box, _, _ = inbox()
    box.put(batch(1))
    box.fail(DisconnectedError("first"))
    box.fail(DisconnectedError("second"))
    assert len(await box.take()) == 1
    for _ in range(2):
        with pytest.raises(DisconnectedError, match="first"):
            await box.take()


async def test_a_cancelled_take_loses_nothing() -> None:
    """A reader that gives up waiting finds the next batch on its next call."""
    box, _, _ = inbox()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await box.take()
    box.put(batch(1))
    assert len(await box.take()) == 1


@pytest.mark.parametrize(
    ("interval_ms", "publishing", "speed", "asked"),
    [
        (100, 100.0, 1.0, (100.0, 30)),
        (100, 1000.0, 1.0, (100.0, 100)),
        (10_000, 100.0, 1.0, (10_000.0, 10)),
        (100, 5.0, 60.0, (100 / 60, 1800)),
        (10, 5.0, 1000.0, (1.0, 3000)),
    ],
)
def test_intervals_are_plant_time_and_queues_outlast_a_stall(
    interval_ms: int, publishing: float, speed: float, asked: tuple[float, int]
) -> None:
    """Sampling is divided by the speed of the plant, and the queue outlasts ten publishing intervals and three seconds."""
    assert sampling(interval_ms * 1_000_000, publishing, speed) == asked


@given(st.floats(5, 60_000), st.floats(0.1, 30))
def test_lifetimes_are_at_least_three_keep_alives(publishing: float, keep_alive: float) -> None:
    """As the standard demands of every subscription (OPC 10000-4, 5.14.2)."""
    alive, life = counts(publishing, Pace(keep_alive=keep_alive))
    assert alive >= 1
    assert life >= 3 * alive
    assert life * publishing >= 60_000


def test_publishing_has_a_floor() -> None:
    """A fast demo does not ask for less than 5 ms."""
    assert publishing_ms(100_000_000, 20) == 5.0
    assert publishing_ms(100_000_000, 100) == 5.0
    assert publishing_ms(100_000_000, 1) == 100.0


def test_plain_rows_pass_quickly() -> None:
    """Converting stays far below the budget of a sample (generous bound against a busy machine)."""
    rows = Columns()
    for number in range(10_000):
        rows.append(number % 10, kind=INT32, value=number, source=NOW, server=NOW)
    converter = Converter("d", [Tag("d", f"t{number}", "int32") for number in range(10)], str)
    started = time.process_time()
    converter.batch(rows, NOW, SECOND)
    assert time.process_time() - started < 0.1
