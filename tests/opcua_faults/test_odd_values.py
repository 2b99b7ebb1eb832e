"""F66 to F70 and F73: what the notifications say. Nothing is lost undeclared, nothing false is good, and memory stays bounded."""

from __future__ import annotations

import asyncio
import math
import struct
import sys
from pathlib import Path

import pytest
from odd_plant import Plant, Row
from odd_wire import EPOCH, Sample, node, now, octets, sample, text, u32, variant

from edge_agent.model.reading import Gap, TagStatus

BOOL, INT32, UINT64, FLOAT64, STRING, DATETIME, STRUCTURE = 1, 6, 9, 11, 12, 13, 22
GOOD, UNCERTAIN, BAD = 0, 1, 2
TAG = {"odd": {"node": "s=odd"}}


async def shown(plant: Plant, new: Sample) -> Row:
    """Set the odd variable and return the row that comes of it."""
    before = sum(row.tag == "odd" for row in plant.rows)
    plant.server.put("odd", new)
    await plant.until(lambda: sum(row.tag == "odd" for row in plant.rows) > before)
    return [row for row in plant.rows if row.tag == "odd"][before]


async def test_f66_a_queue_that_overflows_is_a_gap_of_its_tag() -> None:
    """The overflow bit makes a gap for exactly the tag that lost samples; every other tag loses nothing."""
    plant = Plant(extra=TAG)
    plant.server.faults.most_queue = 5
    async with plant.running():
        plant.server.value("odd", INT32, 0)
        await plant.subscribed()
        for value in range(1, 41):
            plant.server.value("odd", INT32, value)
        await plant.until(lambda: 40 in plant.values("odd"))
        await plant.all_back()
    plant.judge()
    gaps = plant.of(Gap)
    assert {gap.tags for gap in gaps} == {("odd",)}
    assert {gap.reason for gap in gaps} == {"queue_overflow"}
    assert plant.values("odd")[-5:] == [36, 37, 38, 39, 40]


@pytest.mark.parametrize("missing", [1, 3])
async def test_f67_a_hole_is_filled_by_republish(missing: int) -> None:
    """Notifications that never came are asked for again: every value arrives, in order, and nothing is declared."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.drop = missing
        await plant.until(lambda: not plant.server.faults.drop)
        await plant.all_back()
    plant.judge()
    assert plant.server.requests["Republish"] >= missing
    assert not plant.of(Gap)
    assert plant.sessions == 1


async def test_f67_a_hole_that_cannot_be_filled_is_declared() -> None:
    """When the server has the notifications no more, the loss is a gap and the values of now are read."""
    plant = Plant()
    plant.server.faults.republish = False
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.drop = 2
        await plant.until(lambda: plant.of(Gap))
        await plant.all_back()
    plant.judge()
    (gap,) = plant.of(Gap)
    assert (gap.reason, gap.count) == ("comm_loss", 2)
    assert plant.sessions == 1


async def test_f67_the_last_notification_before_silence_is_missed_too() -> None:
    """A hole at the end is found by the number of the next keep-alive, not only by the next change."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        plant.ticking = False
        await asyncio.sleep(0.3)
        plant.server.faults.drop = 1
        plant.tick()
        await plant.until(lambda: plant.values("c00")[-1] == plant.count)
    plant.judge()
    assert not plant.of(Gap)


async def test_f67_notifications_that_come_twice_count_once() -> None:
    """A repeated notification is dropped: no value is delivered two times."""
    plant = Plant()
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.twice = 5
        await plant.until(lambda: not plant.server.faults.twice)
        await plant.all_back()
    plant.judge()
    for name in plant.counters:
        assert len(plant.values(name)) == len(set(plant.values(name)))


def structure(depth: int = 0) -> bytes:
    """Return a Variant of a structure that nobody knows; with ``depth``, Variants inside Variants."""
    if depth:
        return (b"\x98" + u32(1)) * (depth - 1) + variant(INT32, 1)
    return b"\x16" + node((1, 4711)) + b"\x01" + octets(bytes(range(100)))


MATRIX = bytes([INT32 | 0xC0]) + struct.pack("<i6i", 6, 1, 2, 3, 4, 5, 6) + struct.pack("<i2i", 2, 2, 3)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(variant(FLOAT64, 1.5), "type changed", id="another-type"),
        pytest.param(variant(INT32, [1, 2]), "type changed", id="an-array"),
        pytest.param(MATRIX, "type changed", id="a-matrix"),
        pytest.param(variant(STRING, "12"), "type changed", id="a-text"),
        pytest.param(b"\x00", "no value", id="null"),
        pytest.param(b"", "no value", id="nothing"),
        pytest.param(structure(), "structure", id="unknown-structure"),
        pytest.param(b"\x1d" + octets(b"xyz"), "not supported|type changed", id="reserved-type"),
    ],
)
async def test_f68_another_type_is_bad_and_says_so(raw: bytes, says: str) -> None:
    """What is not of the tag's type is bad with the reason; the next right value is good, and other tags never notice."""
    import re

    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", INT32, 7)
        await plant.subscribed()
        row = await shown(plant, Sample(raw, 0, now(), now()))
        assert row.quality == BAD
        assert re.search(says, row.detail or ""), row.detail
        told = [(one.name, one.ok, one.code) for one in plant.of(TagStatus)]
        assert told == ([] if says == "no value" else [("odd", False, "type_changed")])
        assert (await shown(plant, sample(INT32, 8)))[1:4] == (8, GOOD, None)
        await plant.all_back()
    plant.judge()
    assert plant.sessions == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
async def test_f69_what_is_no_number_is_never_good(value: float) -> None:
    """NaN and infinities are bad and carry no value: they would turn into null on their way as JSON."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", FLOAT64, 1.5)
        await plant.subscribed()
        row = await shown(plant, sample(FLOAT64, value))
        assert (row.value, row.quality) == (None, BAD)
        assert str(value) in (row.detail or "")
        await plant.all_back()
    plant.judge()


@pytest.mark.parametrize(
    ("kind", "value"),
    [(UINT64, 2**64 - 1), (8, -(2**63)), (FLOAT64, -0.0), (FLOAT64, sys.float_info.max), (FLOAT64, 5e-324), (STRING, "")],
)
async def test_f69_extremes_arrive_exactly(kind: int, value: float | str) -> None:
    """The largest, the smallest and the empty are values like others, to the last bit."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", kind, "x" if kind == STRING else 1)
        await plant.subscribed()
        row = await shown(plant, sample(kind, value))
        assert (repr(row.value), row.quality) == (repr(value), GOOD)
    plant.judge()


@pytest.mark.parametrize(
    ("ticks", "quality"),
    [(0, BAD), (-(2**63), BAD), (2**63 - 1, BAD), (EPOCH, GOOD)],
    ids=["1601", "smallest", "largest", "1970"],
)
async def test_f69_dates_at_the_ends_of_time(ticks: int, quality: int) -> None:
    """A date that stands for none, or lies outside all calendars, is no date; others come as text."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", DATETIME, now())
        await plant.subscribed()
        row = await shown(plant, sample(DATETIME, ticks))
        assert row.quality == quality, row
        assert row.value is None or quality == GOOD
        stamped = await shown(plant, Sample(variant(DATETIME, now()), 0, ticks, ticks))
        assert stamped.quality in {GOOD, UNCERTAIN}
        await plant.all_back()
    plant.judge()


def resident() -> int:
    """Return how many bytes of this process are in memory now, and begin to look for the most anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Return how many bytes of this process were in memory at the most (proc_pid_status(5), VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


MOST_MB = 100
"""Server and driver are one process here: ten megabytes are there as encoded, sent, received and joined."""

HUGE = {
    "string": variant(STRING, "x" * 10_000_000),
    "octets": b"\x0f" + octets(bytes(10_000_000)),
    "array": variant(FLOAT64, [0.5] * 1_000_000),
    "bools": bytes([BOOL | 0x80]) + u32(10_000_000) + bytes(10_000_000),
    "strings": bytes([STRING | 0x80]) + u32(1_000_000) + text("ab") * 1_000_000,
    "variants": bytes([24 | 0x80]) + u32(1_000_000) + b"\x00" * 1_000_000,
}


@pytest.mark.parametrize("name", HUGE)
async def test_f70_huge_values_are_bounded(name: str) -> None:
    """A value above the limits is cut or left out with a marker, again and again in bounded memory; others go on in the same session."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.put("odd", Sample(HUGE[name], 0, now(), now()))
        await plant.subscribed()
        await shown(plant, Sample(HUGE[name], 0, now(), now()))
        before = resident()
        for _ in range(3):
            row = await shown(plant, Sample(HUGE[name], 0, now(), now()))
            assert row.quality == BAD
            assert "cut at" in (row.detail or "") or "are allowed" in (row.detail or ""), row.detail
            assert len(repr(row.value)) < 300_000
        await plant.all_back()
        more = (peak() - before) / 2**20
    plant.judge()
    assert plant.sessions == 1, plant.losses
    assert more < MOST_MB, f"{more:.0f} MB more than before"


@pytest.mark.parametrize("depth", [20, 99, 100, 101, 2000])
async def test_f70_deep_structures_end_nothing(depth: int) -> None:
    """Variants in Variants, as deep as one likes, make that value bad and nothing else."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", INT32, 1)
        await plant.subscribed()
        row = await shown(plant, Sample(structure(depth), 0, now(), now()))
        assert row.quality == BAD
        await shown(plant, sample(INT32, 2))
        await plant.all_back()
    plant.judge()
    assert plant.sessions == 1, plant.losses


@pytest.mark.parametrize(("state", "quality"), [(4, UNCERTAIN), (1, BAD), (2, BAD)], ids=["shutdown", "failed", "no-configuration"])
async def test_f73_values_are_as_good_as_their_server(state: int, quality: int) -> None:
    """A server that says it is not running makes no good values, from then on and until it runs again."""
    plant = Plant(5)
    async with plant.running():
        await plant.subscribed()
        plant.server.faults.state = state
        plant.server.put_standard(2259)
        await plant.until(lambda: plant.rows[-1].quality == quality)
        assert "server state" in (plant.rows[-1].detail or "")
        changed = len(plant.rows)
        await plant.until(lambda: len(plant.rows) > changed + 20)
        assert {row.quality for row in plant.rows[changed:]} == {quality}
        plant.server.faults.state = 0
        plant.server.put_standard(2259)
        await plant.all_back()
    plant.judge()


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (0x80310000, BAD), (0x808A0000, BAD), (0x408F0000, UNCERTAIN), (0x40900000, UNCERTAIN), (0x00960000, GOOD), (0xC0000000, BAD),
    ],
)  # fmt: skip
async def test_f73_statuses_pass_through(status: int, quality: int) -> None:
    """The severity of a StatusCode is the quality: GoodLocalOverride is good, what is reserved is bad."""
    plant = Plant(5, extra=TAG)
    async with plant.running():
        plant.server.value("odd", INT32, 1)
        await plant.subscribed()
        row = await shown(plant, sample(INT32, 2, status))
        assert row.quality == quality
        assert (row.detail is None) == (quality == GOOD)
        await plant.all_back()
    plant.judge()
    assert plant.sessions == 1
