"""`edge-agent read` of a Modbus device: the registers behind each value, exceptions in words, and what changes."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import structlog

sys.path.append(str(Path(__file__).parents[1] / "modbus"))

from modbus_plc import Asked, Plc, Send, device, frame, serving

from edge_agent.cli.read import Lane, _line, read
from edge_agent.drivers.modbus.rawwords import with_words
from edge_agent.ports import Identity

AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
"""
OVEN = """\
version: 1
device: oven
driver: modbus
host: 127.0.0.1
port: %d
address_base: 1
word_order: CDAB
bad_values: {uint16: [16812]}
tags:
  warm:   {register: holding, address: 11, type: float32, uom: Cel}
  tenths: {register: holding, address: 21, type: int16, scale: 0.1}
  alarm:  {register: holding, address: 21, bit: 2}
  door:   {register: coil, address: 4}
  name:   {register: holding, address: 31, type: string, length: 6}
  gone:   {register: input, address: 5}
"""


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # as the command has it


def oven() -> Plc:
    """A device whose input registers do not exist."""
    high, low = struct.unpack(">HH", struct.pack(">f", 21.5))
    memory = {10: low, 11: high, 20: 215, 3: 1, 30: 0x4F56, 31: 0x454E, 32: 0x2031}

    async def refuse(asked: Asked, right: bytes, send: Send) -> None:
        await send(frame(asked.tid, asked.unit, b"\x84\x02") if asked.function == 4 else right)

    return Plc(value=lambda unit, address: memory.get(address, 0), always=refuse)


async def run(folder: Path, port: int, *, as_json: bool) -> int:
    """Run the command in a thread: it has a loop of its own, the device answers in this one."""
    (folder / "devices").mkdir()
    (folder / "agent.yaml").write_text(AGENT, encoding="utf-8")
    (folder / "devices" / "oven.yaml").write_text(OVEN % port, encoding="utf-8")
    with ThreadPoolExecutor(1) as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, partial(read, folder, None, follow=False, as_json=as_json))


async def test_the_registers_stand_beside_the_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the wire, from the answer that the value came from; bits of a register and sentinels of its type do not hide them."""
    plc = oven()
    async with serving(plc):
        assert await run(tmp_path, plc.port, as_json=True) == 1
    rows = {row["tag"].partition(".")[2]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["warm"]["value"], rows["warm"]["registers"]) == (21.5, ["0000", "41ac"])
    assert (rows["tenths"]["value"], rows["tenths"]["raw"], rows["tenths"]["registers"]) == (21.5, 215, ["00d7"])
    assert (rows["alarm"]["value"], rows["alarm"]["registers"]) == (True, ["00d7"])
    assert (rows["door"]["value"], rows["door"]["registers"]) == (True, [])
    assert (rows["name"]["value"], rows["name"]["registers"]) == ("OVEN 1", ["4f56", "454e", "2031"])
    assert (rows["gone"]["quality"], rows["gone"]["registers"]) == ("bad", [])
    assert "exception 2, illegal data address" in rows["gone"]["detail"]
    assert {asked.function for asked in plc.asked} <= {1, 3, 4}
    assert {(asked.address, asked.count) for asked in plc.asked} == {(3, 1), (10, 2), (20, 1), (30, 3), (4, 1)}


async def test_people_see_them_in_hex(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a column for them where any device has registers."""
    plc = oven()
    async with serving(plc):
        await run(tmp_path, plc.port, as_json=False)
    head, *rows = capsys.readouterr().out.splitlines()
    assert "registers" in head.split()
    assert next(row for row in rows if row.startswith("oven.warm")).split()[-2:] == ["0000", "41ac"]


async def test_every_change_is_followed_with_its_registers(capsys: pytest.CaptureFixture[str]) -> None:
    """A word that stays the same is shown beside the one that changed."""
    plc = Plc(value=lambda unit, address: [len(plc.asked), 7][address])
    async with serving(plc):
        lane = Lane(
            [device(plc.port, tags={"count": {"register": "holding", "address": 0, "type": "uint32"}})], {}, Identity("t", Path())
        )
        task = asyncio.create_task(lane.follow(_line))
        while len(plc.asked) < 4:  # noqa: ASYNC110 - the device is asked when the driver likes
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    for line in lines:
        assert line.split()[0] == "dev.count"
        high, low = line.split()[-2:]
        assert (int(line.split()[1]), low) == ((int(high, 16) << 16) + 7, "0007")


def test_the_plan_stays_as_it_is() -> None:
    """The registers cost no request more: they are read together with their tags."""
    config = device(1, tags={f"t{n}": {"register": "holding", "address": 3 * n, "type": "float32"} for n in range(60)})
    more, words = with_words(config)
    assert len(more.tags) == 60 * 3
    assert words[59] == (178, 179)
