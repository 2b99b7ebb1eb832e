"""`edge-agent peek` against a device: what is printed can be copied into a device file, and every mistake is one line with its remedy."""

from __future__ import annotations

import asyncio
import json
import re
import struct
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.append(str(Path(__file__).parents[1] / "modbus"))

from modbus_line import Line, over_pty, over_tcp
from modbus_plc import Asked, Plc, Send, frame, serving

from edge_agent.cli.peek import Wish, peek
from edge_agent.config.load import load
from edge_agent.model.errors import ConfigError, DisconnectedError

WARM = (21.5, 21.53, 21.48)
AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
"""


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


class Oven(Plc):
    """Registers 0 to 29: a temperature with swapped words at 10, tenths at 20; a gap behind; unit 9 is off; input registers are not offered."""

    def __init__(self) -> None:
        super().__init__(value=self.register, always=self.limited, silent={9})

    def register(self, unit: int, address: int) -> int:
        high, low = struct.unpack(">HH", struct.pack(">f", WARM[len(self.asked) % 3]))
        return {10: low, 11: high, 20: 215 + len(self.asked) % 2}.get(address, 0)

    async def limited(self, asked: Asked, right: bytes, send: Send) -> None:
        code = 1 if asked.function == 4 else 2 if asked.address + asked.count > 30 else 10 if asked.unit == 8 else 0
        await send(frame(asked.tid, asked.unit, bytes([asked.function | 0x80, code])) if code else right)


@pytest_asyncio.fixture
async def oven() -> AsyncIterator[Oven]:
    """The device, served."""
    async with serving(Oven()) as plc:
        yield plc


async def run(plc: Plc, *register: str, as_json: bool = False, **more: object) -> int:
    """Run the command in a thread, with reads as fast as they go."""
    wish = Wish(**({"target": f"127.0.0.1:{plc.port}", "register": register, "every": "1ms", "timeout": "100ms"} | more))  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, partial(peek, wish, as_json=as_json))


async def test_what_is_printed_is_a_device_files_tag(oven: Oven, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole output behind the device's head is a file that check takes; the tag is the right one, and all that left were reads."""
    assert await run(oven, "40011", expect="21.5", name="oven") == 0
    out = capsys.readouterr().out
    assert "> holding 10" in out
    assert re.search(r"1 +float32 +CDAB +10-11 +21\.\d+ .* as expected", out)
    (tmp_path / "devices").mkdir()
    (tmp_path / "agent.yaml").write_text(AGENT, encoding="utf-8")
    head = "version: 1\ndevice: oven\ndriver: modbus\nhost: 10.0.0.9\n"
    (tmp_path / "devices" / "oven.yaml").write_text(head + out, encoding="utf-8")
    (config,) = load(tmp_path).devices
    tag = config.tags["oven"]
    assert (tag.area, tag.address, tag.value_type, tag.word_order) == ("holding", 10, "float32", "CDAB")  # type: ignore[union-attr]
    assert {asked.function for asked in oven.asked} == {3}


async def test_tenths_are_told_with_their_scale(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """215 on the wire and 21.5 on the display is a scale of 0.1; programs get the same as people."""
    assert await run(oven, "20", expect="21.5", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    first = told["candidates"][0]
    assert (first["type"], first["address"], first["scale"], first["matches"]) == ("uint16", 20, 0.1, True)
    assert "type: uint16, scale: 0.1}" in first["tag"]
    assert (told["first"], told["address"], len(told["reads"])) == (18, 20, 3)
    assert {len(read["hex"]) for read in told["reads"]} == {4 * (2 + 4 + 2)}


async def test_a_list_that_counts_from_one_is_noticed(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """The value expected at 11 stands at 10, and the remedy is said."""
    assert await run(oven, "holding", "11", "2", expect="21.5") == 0
    out = capsys.readouterr().out
    assert "one register before the one asked for" in out
    assert "address_base: 1" in out


async def test_a_value_that_is_not_there(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1, and where else to look is said."""
    assert await run(oven, "10", expect="-300") == 1
    assert "-300 is not here" in capsys.readouterr().out


async def test_less_is_asked_for_at_the_end_of_an_area(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that refuses a range is asked for less, down to the one register."""
    assert await run(oven, "29", reads=1) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines() if "> holding" in line] == [["#", ">", "holding"]]
    assert (oven.asked[-1].address, oven.asked[-1].count) == (29, 1)


async def test_coils_are_shown_and_written_as_tags(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """Bits need no guessing."""
    assert await run(oven, "coil", "10", "3", reads=2) == 0
    assert capsys.readouterr().out.count("{register: coil, address: ") == 3
    assert {asked.function for asked in oven.asked} == {1}


async def test_the_connection_of_a_device_file(oven: Oven, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unit, word order and address base are the file's, and the tags are written for it."""
    file = tmp_path / "oven.yaml"
    file.write_text(
        f"version: 1\ndevice: oven\ndriver: modbus\nhost: 127.0.0.1\nport: {oven.port}\nunit_id: 3\nword_order: CDAB\naddress_base: 1\n"
        "tags:\n  a: {register: holding, address: 1}\n",
        encoding="utf-8",
    )
    assert await run(oven, "11", target=str(file), expect="21.5") == 0
    assert "{register: holding, address: 11, type: float32, word_order: CDAB}" in capsys.readouterr().out
    assert {asked.unit for asked in oven.asked} == {3}


@pytest.mark.parametrize(
    ("register", "more", "said"),
    [
        (["30011"], {}, r"refuses .* input 10: exception 1, illegal function.*--area holding"),
        (["150"], {}, r"refuses .* holding 150: exception 2, illegal data address.*--base 1"),
        (["10"], {"unit_id": 8}, r"exception 10, gateway path unavailable.*--unit-id"),
        (["10"], {"unit_id": 9}, r"unit 9 does not answer .* within 0.1 s; is --unit-id right"),
    ],
)
async def test_what_the_device_does_not_give_is_told(oven: Oven, register: list[str], more: dict, said: str) -> None:
    """One line: which unit, which registers, the exception in words, and what to do."""
    with pytest.raises(DisconnectedError, match=said) as caught:
        await run(oven, *register, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("opc.tcp://plc", ["10"]), "host:port, a serial port, or a device file"),
        (Wish("10.0.0.9", ["speed"]), "write what the vendor prints"),
        (Wish("10.0.0.9", ["10"], every="3"), "write a number with its unit"),
        (Wish("10.0.0.9", ["10"], timeout="1ms"), "10ms"),
        (Wish("10.0.0.9:99999", ["10"]), "port"),
    ],
)
def test_a_wrong_question_is_told_before_anything_is_asked(wish: Wish, said: str) -> None:
    """These are mistakes of the command, with its exit code 78."""
    with pytest.raises(ConfigError, match=said):
        peek(wish, as_json=False)


def test_an_opcua_file_is_sent_to_browse(tmp_path: Path) -> None:
    """There the tree says what is what."""
    file = tmp_path / "plc.yaml"
    file.write_text("version: 1\ndevice: plc\ndriver: opcua\nurl: opc.tcp://h:4840\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="edge-agent browse"):
        peek(Wish(str(file), ["10"]), as_json=False)


async def test_a_device_that_answers_few_registers_at_once(oven: Oven, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's limit holds here too."""
    file = tmp_path / "oven.yaml"
    file.write_text(
        f"version: 1\ndevice: oven\ndriver: modbus\nhost: 127.0.0.1\nport: {oven.port}\nmax_registers: 3\n", encoding="utf-8"
    )
    assert await run(oven, "10", target=str(file), expect="21.5", reads=1) == 0
    assert [(asked.address, asked.count) for asked in oven.asked] == [(10, 3)]


@pytest.mark.parametrize("way", [over_pty, over_tcp])
async def test_a_serial_line_is_peeked_into(
    way: Callable[[Line], AbstractAsyncContextManager[Line]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a port of this machine, and behind a gateway that passes bytes on: the same words, and unit 9 is told to be silent."""
    high, low = struct.unpack(">HH", struct.pack(">f", 21.5))
    unit = Line(value=lambda _, address: {10: low, 11: high}.get(address, 0), silent={9})
    async with way(unit) as line:
        target = {"target": line.path, "parity": "none"} if line.path else {"target": f"127.0.0.1:{line.port}", "framing": "rtu"}
        wish = {"register": ["40011"], "every": "1ms", "timeout": "100ms", "expect": "21.5", "reads": 2} | target
        with ThreadPoolExecutor(1) as thread:
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(thread, partial(peek, Wish(**wish), as_json=False)) == 0  # type: ignore[arg-type]
            with pytest.raises(DisconnectedError, match="is --unit-id right"):
                await loop.run_in_executor(thread, partial(peek, Wish(**wish, unit_id=9), as_json=False))  # type: ignore[arg-type]
    assert "{register: holding, address: 10, type: float32, word_order: CDAB}" in capsys.readouterr().out
    assert {asked.function for asked in line.asked} == {3}


async def test_a_late_answer_is_not_taken_for_the_next(oven: Oven, capsys: pytest.CaptureFixture[str]) -> None:
    """After an answer that stayed out it is asked again on another connection."""

    async def late(asked: Asked, right: bytes, send: Send) -> None:
        await asyncio.sleep(0.15)
        await send(right)

    oven.tricks[1] = late
    assert await run(oven, "40011", expect="21.5") == 0
    assert oven.connections == 2
    assert "as expected" in capsys.readouterr().out
