"""The commands of docs/how-to/modbus.md do what it says, against a device that is as the page has it."""

from __future__ import annotations

import asyncio
import re
import shlex
import struct
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "modbus"))

from modbus_plc import Plc, serving

from edge_agent.cli import app
from edge_agent.config.load import load
from edge_agent.model.errors import DisconnectedError
from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "modbus.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^ *(edge-agent (?:peek|check|read) .*?)(?: +#.*)?$", PAGE, re.MULTILINE)))
METER = re.search(r"```yaml\n# devices/meter.yaml\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]
AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1:PORT", allow_insecure: true}
buffer: {path: ./buffer}
"""


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


def meter() -> Plc:
    """21.5 with swapped words at holding 10, 229.8 at input 4, good values elsewhere."""
    warm, volt = struct.unpack(">HH", struct.pack(">f", 21.5))[::-1], struct.unpack(">HH", struct.pack(">f", 229.8))
    memory = {10: warm[0], 11: warm[1], 4: volt[0], 5: volt[1]}
    return Plc(value=lambda _, address: memory.get(address, 0))


@asynccontextmanager
async def a_broker(folder: Path) -> AsyncIterator[int]:
    """Run a broker that takes everybody; its port."""
    ledger = BrokerLedger(folder / "ledger.jsonl")
    broker = Broker(ledger, Faults())
    await broker.listen("127.0.0.1", 0)
    try:
        yield broker.port
    finally:
        await broker.close()
        await ledger.close()


def test_the_page_shows_commands() -> None:
    """There is something to try here."""
    assert {command.split()[1] for command in COMMANDS} == {"peek", "check", "read"}


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_command_of_the_page_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with 0 at the device of the page; at a serial port that this machine does not have it says so."""
    plc = meter()
    async with serving(plc), a_broker(tmp_path) as port:
        (tmp_path / "devices").mkdir()
        (tmp_path / "agent.yaml").write_text(AGENT.replace("PORT", str(port)), encoding="utf-8")
        text = METER.replace("host: 10.0.0.9", f"host: 127.0.0.1\nport: {plc.port}")
        (tmp_path / "devices" / "meter.yaml").write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        words = shlex.split(command.replace("10.0.0.9", f"127.0.0.1:{plc.port}").replace("/etc/edge-agent", str(tmp_path)))[1:]
        words = [word for word in words if word != "--follow"] + (["--every", "1ms"] if words[0] == "peek" else [])
        with ThreadPoolExecutor(1) as thread:
            result = await asyncio.get_running_loop().run_in_executor(thread, lambda: CliRunner().invoke(app, words))
    if "/dev/ttyUSB0" in command:
        assert isinstance(result.exception, DisconnectedError)
        assert "/dev/ttyUSB0" in str(result.exception)
    else:
        assert (result.exit_code, result.exception) == (0, None), result.output


def test_twenty_tags_in_twenty_five_lines(tmp_path: Path) -> None:
    """The example is as short as it says, and check takes it."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "agent.yaml").write_text(AGENT.replace("PORT", "1883"), encoding="utf-8")
    (tmp_path / "devices" / "meter.yaml").write_text(METER, encoding="utf-8")
    assert len(METER.splitlines()) <= 25
    assert len(load(tmp_path).devices[0].tags) == 20
