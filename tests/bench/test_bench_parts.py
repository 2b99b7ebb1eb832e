"""The benchmark's own parts: what its sources make, what its subscriber notices, and what its sums say."""

from __future__ import annotations

import json
import struct

import pytest

from benchmarks.bench import fit, main, summary
from benchmarks.counting import AGAIN, Counting
from benchmarks.source_modbus import Registers
from benchmarks.source_ua_wire import DOUBLE, FLOOR, INT64, Block, counted, ticks, u32
from benchmarks.table import table
from benchmarks.workload import IDLE, WORKLOADS
from edge_agent.config.load import load
from edge_agent.drivers.opcua.wire import data_change

NOW = 1_700_000_000_000_000_000


def _rows(block: Block) -> list[tuple[int, int, int]]:
    """Return (handle, number of the tag, count) of each row as the agent's own decoder sees them."""
    rows = data_change(u32(block.rows) + bytes(block.data) + u32(0xFFFFFFFF))
    assert all(0 <= NOW - time_ < 2_000_000 for time_ in rows.source)
    whole = [int(value) - (FLOOR if kind == DOUBLE else 0) for kind, value in zip(rows.types, rows.values, strict=True)]
    return [(handle, one >> 32, one & 0xFFFFFFFF) for handle, one in zip(rows.handles, whole, strict=True)]


@pytest.mark.parametrize("many", [1, 99, 100, 101, 250, 1000])
def test_bench_a_patched_block_decodes_to_the_count(many: int) -> None:
    """Every row of a patched notification has its own tag and the count that was patched in, whatever the size of the block."""
    tags = [f"{'if'[number % 2]}{number}" for number in range(many)]
    block = Block(tags, [number + 7 for number in range(many)], ticks(NOW))
    assert _rows(block) == [(number + 7, number, 0) for number in range(many)]
    block.patch(70_000, NOW)
    assert _rows(block) == [(number + 7, number, 70_000) for number in range(many)]


@pytest.mark.parametrize("many", [3, 120, 5000])
def test_bench_a_patch_of_some_rows_leaves_the_others(many: int) -> None:
    """Every fiftieth row counts on, and no other."""
    block = Block([f"i{number}" for number in range(many)], list(range(many)), ticks(NOW))
    block.patch(5, NOW, first=2, step=50)
    assert [count for _, _, count in _rows(block)] == [5 if number % 50 == 2 else 0 for number in range(many)]


def test_bench_registers_count_reads() -> None:
    """A register is its address plus how often it changed; with two percent each of fifty reads changes its own."""
    all_of_it, some = Registers(100), Registers(2)
    for read in range(120):
        values = struct.unpack(">10H", all_of_it.answer(1, 65_530, 10))
        assert values == tuple((65_530 + place + read) % 65_536 for place in range(10))
        steps = struct.unpack(">100H", some.answer(1, 400, 100))
        changes = [value - 400 - place for place, value in enumerate(steps)]
        assert changes == [len([one for one in range(1, read + 1) if one % 50 == place % 50]) for place in range(100)]
    assert some.produced == 100 + 119 * 2
    assert struct.unpack(">2H", Registers(0).answer(1, 9, 2)) == (9, 10)


def _message(values: list[object], seq: int = 1, tags: tuple[str, ...] = ("d.i3",), quality: int = 0) -> bytes:
    columns = {"tag": [row % len(tags) for row in range(len(values))], "dt_us": [0] * len(values), "value": values}
    data = {"epoch": "E", "seq": seq, "tags": [{"tag": tag} for tag in tags], "t0": "2023-11-14T22:13:20.000000Z"}
    data["columns"] = columns | {"q": [quality] * len(values)}
    return json.dumps({"source": "s", "type": "edgeagent.process.value.v1", "time": "2023-11-14T22:13:20Z", "data": data}).encode()


def _i3(count: int) -> object:
    return struct.unpack("<q", counted(INT64, 3, count))[0]


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [
        ([0, 1, 2], {}),
        ([0, 2], {"sample lost": 1}),
        ([1], {"sample lost": 1}),
        ([0, 0], {AGAIN: 1}),
        ([0, 1, 2, 0], {"out of order": 1}),
    ],
)
def test_bench_a_wrong_count_is_noticed(counts: list[int], wrong: dict[str, int]) -> None:
    """A sample that is missing, told again or out of order is told apart."""
    counting = Counting()
    counting.take("x/_telemetry", _message([_i3(count) for count in counts]), NOW)
    assert (counting.samples, dict(counting.wrong)) == (len(counts), wrong)


def test_bench_a_value_of_another_tag_is_noticed() -> None:
    """A value that belongs to another tag is invented; a Double and a register are told by their own ways."""
    counting = Counting()
    other = struct.unpack("<q", counted(INT64, 4, 0))[0]
    double = struct.unpack("<d", counted(DOUBLE, 8, 0))[0]
    counting.take("x/_telemetry", _message([other, double, 65_530, other], tags=("d.i3", "d.f8", "d.r65530", "d.i4")), NOW)
    assert dict(counting.wrong) == {"value of another tag": 1}
    counting.take("x/_telemetry", _message([65_531 + 9], 2, ("d.r65530",)), NOW)
    assert counting.wrong["sample lost"] == 1


def test_bench_a_hole_between_records_is_noticed() -> None:
    """Records are numbered without a hole, and none comes twice; a bad sample is counted as bad."""
    counting = Counting()
    for seq, count in ((1, 0), (3, 1), (3, 2)):
        counting.take("x/_telemetry", _message([_i3(count)], seq), NOW)
    assert dict(counting.wrong) == {"hole in a stream": 1, "record twice": 1}
    counting.take("x/_telemetry", _message([None], 4, quality=2), NOW)
    assert counting.figures()["bad"] == 1


def test_bench_latency_is_from_the_samples_own_time() -> None:
    """Latency runs from t0 and the row's offset to the arrival, and is forgotten once it was told."""
    counting = Counting()
    counting.take("x/_telemetry", _message([_i3(0)]), NOW + 250_000_000)
    assert counting.figures()["latency"] == {"p50": 250.0, "p99": 250.0, "max": 250.0}
    assert counting.figures()["latency"]["p50"] is None


def test_bench_a_line_is_fitted() -> None:
    """Ten percent of a core for 10,000 samples a second more are ten microseconds each."""
    found = fit([(0.0, 1.0), (10_000.0, 11.0), (20_000.0, 21.0)])
    assert (round(found["us"], 6), round(found["base"], 6), round(found["r2"], 6)) == (10.0, 1.0, 1.0)


def test_bench_a_summary_stretches_the_target() -> None:
    """On a core half as fast a target of 8 us is one of 16; medians stand between least and most, and every wrong value counts."""
    run = {"us": 10.0, "core": 0.1, "rate": 9_999.0, "rss": 90.0, "p50": 1.0, "p99": 2.0, "start": 1.0, "events": 0.0}
    work = next(one for one in WORKLOADS if one.key == "c2")
    runs = [run | {"us": us, "calibration": 0.072, "wrong": {"sample lost": 1}, "examples": []} for us in (10.0, 12.0, 20.0)]
    found = summary(work, runs)
    assert found["us"] == {"median": 12.0, "min": 10.0, "max": 20.0}
    assert (found["wrong"], found["verdict"]) == (3, 0.75)
    assert "12.00 (10.00 to 20.00)" in table({"lines": [found]})
    assert "8 (16.0 here): met" in table({"lines": [found]})


@pytest.mark.parametrize("work", [*WORKLOADS, *IDLE], ids=lambda work: work.key)
def test_bench_every_workload_is_a_valid_configuration(work: object, tmp_path: object) -> None:
    """What is written for the agent is accepted, and names every tag of the source as telemetry."""
    small = work.small()
    ready = [{"port": 1, "thumbprint": "0" * 64} for _ in small.loads]
    config = load(small.write(tmp_path, 1883, ready))
    assert sum(len(device.tags) for device in config.devices) == sum(load.tags for load in small.loads)


def test_bench_a_line_without_samples_has_no_cost_of_one() -> None:
    """An agent that has nothing to say has a share of a core and no figure for a sample."""
    run = {
        "us": None,
        "core": 0.004,
        "rate": 0.0,
        "rss": 90.0,
        "p50": None,
        "p99": None,
        "start": 1.0,
        "events": 0.0,
        "calibration": 0.036,
    }
    found = summary(IDLE[0], [run | {"wrong": {}, "examples": []}])
    assert "| - a sample | 0.4 % |" in table({"lines": [found]})


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (["--only", "a1,zz"], "there is no line zz"),
        (["--runs", "0"], "at least one run"),
        (["--window", "0"], "0.5 s"),
        (["--events", "0", "--only", "f"], "1,000 events"),
        (["--against", "/nonexistent"], "no checkout of edge-agent"),
    ],
)
def test_bench_what_would_measure_nothing_is_refused(told: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the options is no green benchmark: it ends with 2 and says what there is."""
    with pytest.raises(SystemExit) as caught:
        main(told)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
