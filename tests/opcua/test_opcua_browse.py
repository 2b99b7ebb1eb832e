"""`edge-agent browse`: from a server's tree to tags in a file, against an asyncua server on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from opcua_plant import URI, Plc, Proxy, free_port
from opcua_types import add_types, add_value, motor

from edge_agent.cli.browse import Wish, browse
from edge_agent.config.source import MAX_BYTES, read
from edge_agent.config.tagfile import scalar, tag_line, with_tags
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.typebook import node_of_text, text_of
from edge_agent.model.errors import ConfigError

DEVICE = """\
# The filler's PLC; ask Jo before changing it.
version: 1
device: plc1
driver: opcua
url: opc.tcp://127.0.0.1:{port}   # in the cabinet
allow_insecure: true
namespace: urn:edge-agent:test-line
tags_from: {{browse: 'Line1/**', exclude: ['**/Arr']}}
tags:
    # the one that counts
    speed:   {{node: s=M1.Speed, type: float64, scale: 60}}   # rpm
    mode:
        path: Line1/Motor1/Mode
        type: int32
    # nothing below here yet

# end of file
"""


@pytest.fixture(autouse=True)
def _plain_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up logging for its process; here it would stay for the tests after it."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    """Line1/Motor1 with a number, an enumeration, a structure, an array, and a name that is no name of a tag."""
    plc = Plc(free_port())
    await plc.start()
    types = await add_types(plc)
    line = await plc.server.nodes.objects.add_object(ua.NodeId("Line1", plc.index), f"{plc.index}:Line1")
    one = await line.add_object(ua.NodeId("M1", plc.index), f"{plc.index}:Motor1")
    await one.add_variable(ua.NodeId("M1.Speed", plc.index), f"{plc.index}:Speed", 1.5)
    mode = ua.Variant(2, ua.VariantType.Int32)
    await one.add_variable(ua.NodeId("M1.Mode", plc.index), f"{plc.index}:Mode", mode, datatype=types["Mode"].nodeid)
    drive = ua.Variant(motor(2.5, 'say "x"\n'), ua.VariantType.ExtensionObject)
    await one.add_variable(ua.NodeId('"DB"."M 1"', plc.index), f"{plc.index}:M 1", drive, datatype=types["Motor"].nodeid)
    await one.add_variable(ua.NodeId("M1.Arr", plc.index), f"{plc.index}:Arr", [1, 2, 3])
    oil = await one.add_variable(ua.NodeId("Oil", plc.index), f"{plc.index}:Oil", 71.5)
    for reference in plc.server.iserver.aspace[one.nodeid].references:
        if reference.NodeId == oil.nodeid:  # asyncua can make no variable of another type in one call
            reference.TypeDefinition = ua.NodeId(ua.ObjectIds.AnalogItemType)
    celsius = ua.EUInformation(
        "http://www.opcfoundation.org/UA/units/un/cefact", 4408652, ua.LocalizedText("°C"), ua.LocalizedText("degree")
    )
    await oil.add_property(ua.NodeId("Oil.Unit", plc.index), "0:EngineeringUnits", celsius)
    await one.add_variable(ua.NodeId("a ${HOME} b", plc.index), f"{plc.index}:Money", 3)
    await add_value(plc, "Drive", ua.Variant(ua.Drive(Motors=[motor(1)]), ua.VariantType.ExtensionObject), types["Drive"])
    await add_value(plc, "Motors", ua.Variant([motor(1)], ua.VariantType.ExtensionObject), types["Motor"])
    yield plc
    await plc.stop()


async def run(plc: Plc, **wish: Any) -> None:
    """Run the command in a thread: it has a loop of its own, the server runs in this one."""
    asked = {"target": f"opc.tcp://127.0.0.1:{plc.port}", "path": None, "depth": 10, "limit": 50_000, "add": None}
    with ThreadPoolExecutor(1) as thread:
        await asyncio.get_running_loop().run_in_executor(thread, browse, Wish(**({"allow_insecure": True} | asked | wish)))


@pytest.mark.asyncio(loop_scope="module")
async def test_the_tree_is_printed_as_tags(plc: Plc, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is printed is the tags of a device file: addresses with the namespace's URI, types, names of values, fields; values are comments."""
    await run(plc, path="Line1")
    printed = capsys.readouterr().out
    (tmp_path / "x.yaml").write_text(printed, encoding="utf-8")
    source = read(tmp_path / "x.yaml")
    assert source.problems == []
    assert source.data["tags"] == {
        "Line1_Motor1_Speed": {"node": f"nsu={URI};s=M1.Speed", "type": "float64"},
        "Line1_Motor1_Mode": {"node": f"nsu={URI};s=M1.Mode", "type": "int32", "names": {0: "Off", 1: "Manual", 2: "Auto"}},
        "Line1_Motor1_M_1_On": {"node": f'nsu={URI};s="DB"."M 1"', "field": "On", "type": "bool"},
        "Line1_Motor1_M_1_Speed": {"node": f'nsu={URI};s="DB"."M 1"', "field": "Speed", "type": "float32"},
        "Line1_Motor1_M_1_Name": {"node": f'nsu={URI};s="DB"."M 1"', "field": "Name", "type": "string"},
        "Line1_Motor1_M_1_Counts": {"node": f'nsu={URI};s="DB"."M 1"', "field": "Counts"},
        "Line1_Motor1_Arr": {"node": f"nsu={URI};s=M1.Arr"},
        "Line1_Motor1_Oil": {"node": f"nsu={URI};s=Oil", "type": "float64", "uom": "CEL"},
    }
    comments = {line.split(":")[0].strip(): line.rpartition("   # ")[2] for line in printed.splitlines()}
    assert comments["Line1_Motor1_Mode"] == "2 (Auto)   Line1/Motor1/Mode"
    assert comments["Line1_Motor1_M_1_Name"] == 'say "x"?   Line1/Motor1/M 1.Name'
    assert comments["Line1_Motor1_Arr"] == "3 elements: 1, 2, 3   Line1/Motor1/Arr"
    assert "  # Line1_Motor1_Money: " in printed, "the loader would substitute ${HOME}: this one is for a person"


@pytest.mark.asyncio(loop_scope="module")
async def test_arrays_of_structures_are_no_tags_by_themselves(plc: Plc, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a structure everything is offered that is a value; of an array of structures its fields are named, for a person."""
    await run(plc, path="Drive")
    assert "field: Mode" in (printed := capsys.readouterr().out)
    assert "Motors" not in printed
    await run(plc, path="Motors")
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("  # Motors: ")
    assert "\\x" not in line, "the bytes of a structure say nothing to anybody"
    assert "an array of structures with On, Speed, Name, Counts: name one with index and field" in line


@pytest.mark.asyncio(loop_scope="module")
async def test_a_variable_with_variables_below_gives_those(plc: Plc, capsys: pytest.CaptureFixture[str]) -> None:
    """A structure whose fields are variables, too, is offered once: as the variables."""
    await run(plc, path="Server/ServerStatus")
    printed = capsys.readouterr().out
    assert "field:" not in printed
    assert "Server_ServerStatus_BuildInfo_ProductName: " in printed


@pytest.mark.asyncio(loop_scope="module")
async def test_adding_keeps_what_stands_in_the_file(plc: Plc, tmp_path: Path) -> None:
    """Only what tags_from names and no tag has is added, behind the last tag; a second time nothing is; every other line stays."""
    file = tmp_path / "plc1.yaml"
    before = DEVICE.format(port=plc.port)
    file.write_text(before, encoding="utf-8")
    await run(plc, target=None, add=file)
    after = file.read_text(encoding="utf-8")
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert [line for line in after.splitlines() if line not in added] == before.splitlines()
    assert after.index("Line1_Motor1_M_1_On") > after.index("type: int32")
    assert [line.split(":")[0].strip() for line in added] == [
        "Line1_Motor1_M_1_On", "Line1_Motor1_M_1_Speed", "Line1_Motor1_M_1_Name", "Line1_Motor1_M_1_Counts", "Line1_Motor1_Oil",
        "# Line1_Motor1_Money",
    ]  # fmt: skip
    config = OpcUaConfig.model_validate(read(file).data)
    assert len(config.tags) == 7
    await run(plc, target=None, add=file)
    assert file.read_text(encoding="utf-8") == after, "what is no tag was noted already"
    assert os.listdir(tmp_path) == ["plc1.yaml"]  # noqa: PTH208 - no temporary file is left


@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_that_would_be_too_large_stays_as_it_is(plc: Plc, tmp_path: Path) -> None:
    """Where the tags do not fit into what a device file may have, nothing is added, and the words say how much it was and what helps."""
    file = tmp_path / "plc1.yaml"
    text = DEVICE.format(port=plc.port)
    room = MAX_BYTES - len(text.encode()) - 100
    file.write_text(text + f"# {'x' * room}\n", encoding="utf-8")
    before = file.read_bytes()
    assert not read(file).problems
    with pytest.raises(
        ConfigError, match=r"with the new tags the file would have 4,19\d,\d{3} bytes; the limit is 4,194,304.* narrow the path"
    ):
        await run(plc, target=None, add=file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["plc1.yaml"]  # noqa: PTH208 - no temporary file is left
    file.write_text(text + f"# {'x' * (room - 2000)}\n", encoding="utf-8")
    await run(plc, target=None, add=file)
    assert len(OpcUaConfig.model_validate(read(file).data).tags) == 7


@pytest.mark.asyncio(loop_scope="module")
async def test_a_new_file_is_a_whole_device(plc: Plc, tmp_path: Path) -> None:
    """A file that is not there yet is written as a device that loads and finds its own tags."""
    file = tmp_path / "devices" / "my filler.yaml"
    await run(plc, path="Line1/**/Speed", add=file)
    config = OpcUaConfig.model_validate(read(file).data)
    assert (config.device, config.url, list(config.tags)) == (
        "my-filler",
        f"opc.tcp://127.0.0.1:{plc.port}",
        ["Line1_Motor1_Speed"],
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_browsing_only_reads(plc: Plc) -> None:
    """On the wire there is no Write, Call, AddNodes or DeleteNodes."""
    async with Proxy(plc.port).running() as proxy:
        await run(plc, target=f"opc.tcp://127.0.0.1:{proxy.port}")
    assert proxy.requests["Read"] > 2
    assert not proxy.requests.keys() & {"Write", "Call", "AddNodes", "DeleteNodes"}


def fails(wish: Callable[[], Any]) -> str:
    """Return what a user is told."""
    with pytest.raises(ConfigError) as raised:
        wish()
    return str(raised.value)


def test_mistakes_are_told_in_words(tmp_path: Path) -> None:
    """No target, no insecure flag, a Modbus device, tags in braces: each says what to do."""
    file = tmp_path / "a.yaml"
    asked = Wish(None, None, 10, 10, None, allow_insecure=False)
    assert "name a server" in fails(lambda: browse(asked))
    assert "--allow-insecure" in fails(lambda: browse(asked._replace(target="opc.tcp://127.0.0.1:1")))
    assert "not an OPC UA address" in fails(lambda: browse(asked._replace(target="opc.tcp:", allow_insecure=True)))
    file.write_text("version: 1\ndriver: modbus\n", encoding="utf-8")
    assert "no OPC UA device" in fails(lambda: browse(asked._replace(add=file)))
    assert "one tag in a line" in fails(lambda: with_tags("tags: {a: {node: s=A}}\n", ["  b: 1"]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version: 1\n", "version: 1\ntags:\n  b: 1\n"),
        ("version: 1", "version: 1\ntags:\n  b: 1\n"),
        ("tags:\nurl: x\n", "tags:\n  b: 1\nurl: x\n"),
        ("tags:\n a: 2\n# c\n\nurl: x\n", "tags:\n a: 2\n b: 1\n# c\n\nurl: x\n"),
        ("tags:\n  a:\n    n: [\n      1, 2]\n\n# end", "tags:\n  a:\n    n: [\n      1, 2]\n  b: 1\n\n# end"),
        ("tags:\n  a: |\n    text\n    more\nurl: x\n", "tags:\n  a: |\n    text\n    more\n  b: 1\nurl: x\n"),
        ("tags:\n  a:\n  - 1\n  - 2\nurl: x\n", "tags:\n  a:\n  - 1\n  - 2\n  b: 1\nurl: x\n"),
    ],
)
def test_lines_go_behind_the_last_tag(before: str, after: str) -> None:
    """Whatever the last tag looks like, whatever follows: the new line is the next entry, in the file's own indentation."""
    assert with_tags(before, ["  b: 1"]) == after


@pytest.mark.parametrize("text", ["no", "Off", "1e5", "a: b", 'say "x"', "\x1b[31m", "ü", "", "0", "~", "# x", "{x"])
def test_text_is_written_so_that_it_is_read_again(text: str, tmp_path: Path) -> None:
    """Any text comes back as the same text, in one line."""
    line = tag_line("name", {"node": text}, text)
    assert "\n" not in line
    (tmp_path / "x.yaml").write_text(f"tags:\n{line}\n", encoding="utf-8")
    assert read(tmp_path / "x.yaml").data == {"tags": {"name": {"node": text}}}
    assert scalar({1: text}).startswith("{1: ")


@pytest.mark.parametrize(
    "node",
    [
        ua.NodeId(5),
        ua.NodeId("a;b=c", 2),
        ua.NodeId("a;b=c"),
        ua.NodeId(b"\x01\xff", 3),
        ua.NodeId.from_string("ns=2;g=09087e75-8e5e-499b-954f-f2a9603db28a"),
    ],
)
def test_node_ids_as_text_and_back(node: ua.NodeId) -> None:
    """The text by which node ids are compared leads back to them; a namespace that is not there is told."""
    assert node_of_text(text_of(node), ["", "a"]) == node
    assert node_of_text("nsu=a;i=5", ["", "a"]) == ua.NodeId(5, 1)
    with pytest.raises(LookupError, match="no namespace b"):
        node_of_text("nsu=b;i=5", ["", "a"])
    with pytest.raises(LookupError, match="not UTF-8"):
        node_of_text("ns=2;s=a\udc80", [])
    with pytest.raises(LookupError, match="another server"):
        node_of_text("svr=1;ns=2;i=5", [])
