"""A recording of live devices gives the events that an agent would have told, with the scale of now; it writes to no device and to no broker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path += [str(Path(__file__).parents[1] / room) for room in ("opcua", "modbus")]

from opcua_plant import Plc, free_port

from edge_agent.agent.clock import WallClock
from edge_agent.cli import main
from edge_agent.config.load import load
from edge_agent.events.derive import Tick
from edge_agent.model.reading import Batch, DeviceDown
from edge_agent.replay.record import Recorder, header_of
from edge_agent.replay.recording import Recording, Writer

CONFIG = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1:1", allow_insecure: true}
buffer: {path: ./buffer}
devices:
  - version: 1
    device: plc
    driver: opcua
    url: opc.tcp://127.0.0.1:%d
    allow_insecure: true
    namespace: urn:edge-agent:test-line
    sampling: 50ms
    publishing: 50ms
    tags:
      count: {node: s=Count, type: int32, scale: 0.5}
      seq: {node: s=Seq, type: int32}
      value: {node: s=Value, type: int32}
      ack: {node: s=Ack, type: int32, acknowledge: true}
  - {version: 1, device: meter, driver: modbus, host: 127.0.0.1, port: %d, timeout: 200ms, tags: {power: {register: holding, address: 0}}}
units:
  - version: 1
    unit: press
    counters: {total: {tag: plc.count, role: total, wraps: packml, max_rate: 1000/s}}
    records:
      scale: {pattern: seq_ack, seq: plc.seq, seq_end: plc.seq, ack: plc.ack, fields: {value: plc.value}, characteristic: weight}
    telemetry: {tags: [meter.power], publish: 1s}
"""


@pytest_asyncio.fixture
async def plc() -> AsyncIterator[Plc]:
    """A server with a counter and a record."""
    plc = Plc(free_port())
    await plc.start()
    for name, value in (("Count", 100), ("Seq", 0), ("Value", 0), ("Ack", 0)):
        await plc.add(name, value)
    yield plc
    await plc.stop()


async def recorded(plc: Plc, place: Path, limit: int = 10_000_000) -> Recorder:
    """Record while the PLC counts to 120 and shows one record."""
    (place / "agent.yaml").write_text(CONFIG % (plc.port, free_port()), encoding="utf-8")
    config = load(place / "agent.yaml")
    stop = asyncio.Event()
    with (place / "line.jsonl").open("wb") as out:
        writer = Writer(out, header_of(config, WallClock()))
        recorder = Recorder(config, writer, WallClock(), limit)
        running = asyncio.create_task(recorder.run(20, stop))
        while not recorder.up["plc"] and not running.done():  # noqa: ASYNC110 - what is seen by the recorder makes no event
            await asyncio.sleep(0.02)
        for count in (106, 114, 120):
            await plc.write("Count", count)
            await asyncio.sleep(0.15)
        await plc.write("Value", 77)
        await plc.write("Seq", 1)
        await asyncio.sleep(0.3)
        stop.set()
        await running
    return recorder


def simulated(place: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> object:
    """Run the command; return its exit code."""
    monkeypatch.setattr("sys.argv", ["edge-agent", "simulate", str(place / "line.jsonl"), "-c", str(place / "agent.yaml"), *more])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


async def test_what_was_recorded_is_derived_again(
    plc: Plc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw values stand in the file, scaled ones in the events; a device that is away is told; nothing was acknowledged."""
    recorder = await recorded(plc, tmp_path)
    assert recorder.up == {"plc": True, "meter": False}
    assert await plc.nodes["Ack"].read_value() == 0, "a recording writes to no device"
    recording = Recording(tmp_path / "line.jsonl")
    given = list(recording)
    assert recording.header.devices == {"plc": ("count", "seq", "value", "ack"), "meter": ("power",)}
    raw = [
        value
        for batch in given
        if isinstance(batch, Batch) and batch.device == "plc"
        for tag, value in zip(batch.tags, batch.values, strict=True)
        if tag == 0
    ]
    assert (raw[0], raw[-1]) == (100, 120)
    downs = [notice for batch in given if isinstance(batch, Batch) for notice in batch.before if isinstance(notice, DeviceDown)]
    assert [down.device for down in downs] == ["meter"]
    assert isinstance(given[-1], Tick)
    assert given[-1].final
    events = tmp_path / "events.jsonl"
    assert simulated(tmp_path, monkeypatch, "-o", str(events)) == 0
    told = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    counts = [one["data"]["delta"] for one in told if one.get("type") == "edgeagent.production.count.v1"]
    assert sum(counts) == 10.0
    results = [one["data"]["value"] for one in told if one.get("type") == "edgeagent.quality.result.v1"]
    assert results == [77]
    assert simulated(tmp_path, monkeypatch, "--expect", str(events)) == 0
    assert simulated(tmp_path, monkeypatch, "--expect", str(events), "--restart-everywhere") == 0
    capsys.readouterr()
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "agent.yaml").read_text().replace("scale: 0.5", "scale: 0.25"), encoding="utf-8")
    assert simulated(tmp_path, monkeypatch, "--diff", str(other)) == 1
    assert '+{"unit":"press","type":"edgeagent.production.count.v1"' in capsys.readouterr().out


async def test_a_recording_ends_when_it_is_full(plc: Plc, tmp_path: Path) -> None:
    """The limit is kept to within one batch, and the file can be read."""
    recorder = await recorded(plc, tmp_path, limit=900)
    assert recorder.full.is_set()
    assert (tmp_path / "line.jsonl").stat().st_size < 3000
    assert list(Recording(tmp_path / "line.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["--for", "soon"], "--for: 'soon' is not a duration", 78),
        (["--limit", "much"], "--limit: 'much' is no size", 78),
        ([], "exists already; name another file", 1),
    ],
)
def test_a_recording_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str, code: int
) -> None:
    """A duration or a size that is none, and a file that is there already, which is kept."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
    (tmp_path / "agent.yaml").write_text(CONFIG % (free_port(), free_port()), encoding="utf-8")
    file = tmp_path / "line.jsonl.gz"
    file.write_bytes(b"mine")
    monkeypatch.setattr("sys.argv", ["edge-agent", "record", str(file), "-c", str(tmp_path / "agent.yaml"), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert told in capsys.readouterr().err
    assert file.read_bytes() == b"mine"
