"""Recordings: what is written is read again, damage is told, and another configuration can be used for them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from edge_agent.events.derive import Tick
from edge_agent.model.condition import Condition, Refresh
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, Boot, DeviceDown, Gap, Quality, Recovered, Snapshot
from edge_agent.replay.derive import Places, derive
from edge_agent.replay.line import Line, line_in
from edge_agent.replay.recording import FORMAT, Header, Recording, RecordingError, Writer

T = 1_790_000_000 * NS
HEADER = Header(FORMAT, {"plc": ("a", "b"), "meter": ("c",)}, agent="gw1", started="2026-09-21T14:13:20Z")
GIVEN = [
    Batch("plc", T, [0, 1], [5, "x"], [0, 1], [T - 5, T - 4], [T - 3, 0], {1: "dirty"}, (Snapshot("u/g", 0, 2),), (Boot("plc", T, 7),)),
    Batch("plc", T + 1, [0, 0, 0], [math.inf, b"\x00\xff", (1, 2.5, ("z",))], [0, 0, 2], [0, 0, 0], [0, 0, 0], asked=T),
    Batch("meter", T + 2, [0], [None], [2], [0], [0], after=(DeviceDown("meter", T, None, "gone"), Gap("meter", "comm_loss", 1, 2, ("c",), 3))),
    Batch("plc", T + 3, [1], [Refresh("begun")], [0], [T], [T], historical=True, before=(Recovered("plc", T, ("a",)),)),
    Batch("plc", T + 4, [1], [Condition("i=1", active=True, severity=3, source="x", since=T)], [0], [T], [T]),
    Batch("plc", T + 5, [0], [2**64 - 1], [0], [T], [T]),
    Tick(T + NS),
    AgentDown(T + NS, T + 5 * NS),
    Tick(T + 6 * NS, final=True),
]  # fmt: skip


def written(file: Path, given: list[object] | None = None) -> Path:
    """Write a recording."""
    with gzip.open(file, "wb") if file.suffix == ".gz" else file.open("wb") as out:
        writer = Writer(out, HEADER)
        for one in GIVEN if given is None else given:
            writer.put(one)
    return file


@pytest.mark.parametrize("name", ["line.jsonl", "line.jsonl.gz"])
def test_everything_is_read_as_it_was_given(tmp_path: Path, name: str) -> None:
    """Values of every kind with their types, times, qualities, notices and ticks survive the file, compressed or not."""
    recording = Recording(written(tmp_path / name))
    assert recording.header == HEADER
    found = list(recording)
    assert found == GIVEN
    assert [type(value) for value in found[1].values] == [float, bytes, tuple]
    assert type(found[3].values[0]) is Refresh


def test_what_a_killed_recorder_left_is_read_to_its_end(tmp_path: Path) -> None:
    """A compressed file that breaks off gives everything before the break."""
    whole = written(tmp_path / "whole.jsonl.gz", [Tick(T + k * NS) for k in range(5000)]).read_bytes()
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    found, everything = list(Recording(cut)), list(Recording(tmp_path / "whole.jsonl.gz"))
    assert len(found) > 1000
    assert found == everything[: len(found)]
    plain = tmp_path / "cut.jsonl"
    plain.write_bytes(gzip.decompress(whole)[:-5])
    assert list(Recording(plain)) == everything[:-1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "is no recording"),
        (b"{}\n", "is no recording"),
        (b'{"edge_agent_recording": 99, "devices": {}}\n', "has format 99"),
        (b"\xff\xfe\n", "is no recording"),
    ],
)
def test_another_file_is_refused_in_words(tmp_path: Path, text: bytes, told: str) -> None:
    """What is no recording, or a newer one, is told with its name and what to do."""
    file = tmp_path / "x.jsonl"
    file.write_bytes(text)
    with pytest.raises(RecordingError, match=told):
        Recording(file)


@pytest.mark.parametrize(
    "line",
    [
        '{"d":"plc","at":1,"r":[["nobody",1]]}',
        '{"d":"robot","at":1}',
        '{"tick":"soon"}',
        "half a li",
        '{"d":"plc","at":1,"r":[["a",{"odd":1}]]}',
    ],
)
def test_a_damaged_line_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    """Everything before it is given; it itself is an error with file and line."""
    file = written(tmp_path / "x.jsonl", [Tick(T)])
    file.write_text(file.read_text() + line + "\n")
    lines = iter(Recording(file))
    assert next(lines) == Tick(T)
    with pytest.raises(RecordingError, match=r"x\.jsonl:3: this line is damaged"):
        next(lines)


def test_a_recording_fits_another_order_of_tags_and_another_scale() -> None:
    """Rows go by the names of tags, values by the scale of now; what is not declared any more is left out and named."""
    base = line_in({"units": [], "devices": {"plc": {"new": "int32", "b": "string", "a": "int32"}}})
    line = Line(base.units, base.devices, scalings={"plc": [lambda raw: raw, lambda raw: raw, lambda raw: raw * 2]})
    places = Places(line, {"plc": ("a", "gone", "b")})
    assert (places.unknown, places.missing) == (["plc.gone"], ["plc.new"])
    batch = Batch(
        "plc", T, [1, 0, 2, 0], [9, 5, "x", None], [0, 0, 0, 2], [1, 2, 3, 4], [0] * 4, {2: "why"}, (Snapshot("g", 1, 4),)
    )
    found = places.batch(batch)
    assert (found.tags, found.values, found.quality, found.source) == ([2, 1, 2], [10, "x", None], [0, 0, 2], [2, 3, 4])
    assert (found.details, found.snapshots) == ({1: "why"}, (Snapshot("g", 0, 3),))


def test_a_value_that_scaling_cannot_hold_is_bad() -> None:
    """A scale that has no answer gives a bad sample without a value, as the driver does."""
    line = Line((), line_in({"units": [], "devices": {"plc": {"a": "float64"}}}).devices, scalings={"plc": [lambda _: None]})
    found = Places(line, {"plc": ("a",)}).batch(Batch("plc", T, [0], [1e308], [0], [0], [0]))
    assert (found.values, found.quality) == ([None], [Quality.BAD])


def test_a_restart_that_loses_what_was_stored_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with restarts is able to fail: a unit whose store is forgotten counts from a new baseline."""
    counter = {"tag": "plc.a", "role": "total", "wraps": "uint16", "max_rate": "5/s"}
    line = line_in({"units": [{"unit": "u", "counters": {"n": counter}}], "devices": {"plc": {"a": "uint16"}}})
    given = [Batch("plc", T + k * NS, [0], [10 + k], [0], [T + k * NS], [0]) for k in range(4)]
    whole = list(derive(line, given))
    assert list(derive(line, given, restarts=True)) == whole
    assert sum(b"production.count" in event for event in whole) == 3
    monkeypatch.setattr("edge_agent.replay.derive.Player.stored", property(lambda _: {}, lambda *_: None), raising=False)
    assert list(derive(line, given, restarts=True)) != whole
