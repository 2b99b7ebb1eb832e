"""`edge-agent read`: every tag once, of both drivers, with raw values; nothing is written anywhere."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

sys.path += [str(Path(__file__).parents[1] / room) for room in ("opcua", "modbus")]

from opcua_plant import Plc, free_port

from edge_agent.cli.read import Shown, _line, read
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag

AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
"""
PLC = """\
version: 1
device: plc
driver: opcua
url: opc.tcp://127.0.0.1:%d
allow_insecure: true
namespace: urn:edge-agent:test-line
tags:
  speed: {node: s=Speed, type: int32, scale: 0.5, offset: 1, uom: /min, deadband: 5}
  mode:  {node: s=Mode, names: {1: Manual, 2: Auto}}
  gone:  {node: s=Nowhere}
"""
METER = """\
version: 1
device: meter
driver: modbus
host: 127.0.0.1
port: %d
timeout: 200ms
tags:
  power: {register: holding, address: 0}
"""


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


@pytest_asyncio.fixture
async def plc() -> AsyncIterator[Plc]:
    """A server with two variables."""
    plc = Plc(free_port())
    await plc.start()
    await plc.add("Speed", 721)
    await plc.add("Mode", 2)
    yield plc
    await plc.stop()


def folder(place: Path, port: int, **more: str) -> Path:
    """Write a configuration with the PLC and more devices."""
    (place / "devices").mkdir()
    (place / "agent.yaml").write_text(AGENT, encoding="utf-8")
    for name, text in ({"plc": PLC % port} | more).items():
        (place / "devices" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return place


async def run(config: Path, device: str | None, *, as_json: bool) -> int:
    """Run the command in a thread: it has a loop of its own, the server runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        command = partial(read, config, device, follow=False, as_json=as_json)
        return await asyncio.get_running_loop().run_in_executor(thread, command)


async def test_every_tag_is_shown_once_with_its_raw_value(plc: Plc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scaled and raw, unit, quality with its reason, names of values; a device that does not answer has bad rows, and the exit code says so."""
    config = folder(tmp_path, plc.port, meter=METER % free_port())
    assert await run(config, None, as_json=True) == 1
    rows = {row["tag"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["meter.power", "plc.speed", "plc.mode", "plc.gone"]
    speed = rows["plc.speed"]
    assert (speed["value"], speed["raw"], speed["uom"], speed["quality"]) == (361.5, 721, "/min", "good")
    assert speed["source"] is not None
    assert (rows["plc.mode"]["value"], rows["plc.mode"]["name"]) == (2, "Auto")
    assert (rows["plc.gone"]["quality"], rows["plc.gone"]["detail"], rows["plc.gone"]["value"]) == ("bad", "BadNodeIdUnknown", None)
    assert rows["meter.power"]["quality"] == "bad"
    assert "refuses the connection" in rows["meter.power"]["detail"]
    assert sorted(path.name for path in config.iterdir()) == ["agent.yaml", "devices"], "nothing is stored"


async def test_one_device_as_a_table(plc: Plc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person sees one line for each tag; a device with a wrong name is told with the right one."""
    text = PLC.replace("  gone:  {node: s=Nowhere}\n", "")
    config = folder(tmp_path, plc.port, plc=text % plc.port)
    assert await run(config, "plc", as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["tag", "value", "unit", "quality", "time", "raw", "why"]
    assert [line.split()[:3] for line in lines[1:]] == [["plc.speed", "361.5", "/min"], ["plc.mode", "2", "(Auto)"]]
    with pytest.raises(ConfigError, match="did you mean 'plc'"):
        read(config, "plk", follow=False, as_json=False)


async def test_a_reader_who_has_seen_enough(plc: Plc, tmp_path: Path) -> None:
    """`read --follow | head` ends like any command whose reader went away: without a traceback, whatever the lanes do."""
    config = folder(tmp_path, plc.port, meter=METER % free_port())
    command = [sys.executable, "-m", "edge_agent", "read", "--follow", "-c", str(config)]
    reader = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stderr is not None
    async with asyncio.timeout(60):
        await reader.stdout.readline()
        reader.stdout._transport.close()  # type: ignore[attr-defined]
        for number in range(200):
            await plc.write("Speed", 1000 + 100 * number)
            if reader.returncode is not None:
                break
            await asyncio.sleep(0.1)
        said = (await reader.stderr.read()).decode()
        assert await reader.wait() == 1
    assert "Traceback" not in said


def test_a_reason_is_told_to_its_end() -> None:
    """The command that mends it stands behind two fingerprints and in front of a path: half of it would be another command."""
    reason = f"the server shows another certificate (SHA-256 {'ab' * 32}) than the trusted one ({'cd' * 32}); edge-agent trust URL --pki /var/lib/edge-agent/pki"
    line = _line(Shown(Tag("plc", "speed"), None, None, None, reason))
    assert line.endswith("--pki /var/lib/edge-agent/pki")
