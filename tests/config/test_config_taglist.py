"""Tags as rows of a table: what spreadsheets write is read, and every mistake is told at its row and column with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cli.check import check
from edge_agent.config.load import InvalidConfigError, load
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers.catalog import columns_of
from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.tag import ModbusTag
from edge_agent.model.table import UnclosedError, decoded, number, parse

AGENT = """version: 1
agent: edge1
site: [acme, plant1]
mqtt: {broker: "mqtts://broker.acme.example:8883", tls: {ca: system}}
buffer: {path: /tmp/edge-agent/buffer.db}
"""
DEVICE = """version: 1
device: capper
driver: modbus
host: 10.0.0.6
tags_from: capper-tags.csv
"""


def place(folder: Path, table: str | bytes, more: str = "") -> Path:
    """Write a configuration whose capper names a table; return its folder."""
    (folder / "devices").mkdir()
    (folder / "agent.yaml").write_text(AGENT)
    (folder / "devices" / "capper.yaml").write_text(DEVICE + more)
    (folder / "devices" / "capper-tags.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


def capper(config: AgentConfig) -> ModbusConfig:
    """Return the device."""
    (device,) = config.devices
    assert isinstance(device, ModbusConfig)
    return device


TABLE = """name;register;ref;address;type;scale;uom;bad_values;names;ratio;clamp;poll;read_twice;scale_from.exponent
# the torque comes from the drive

torque;input;;4;float32;0,1;N.m;;;;-1,5 100,0;0,5s;;
mode;;40007;;;;;0xFFFF 0x7FFF;0=off | 1=manual mode;;;;;
energy;input;;10;uint32;0,01;KWH;;;600/5 20000/100;;;true;
power;input;;14;int16;;W;;;;;;;power_sf
power_sf;input;;15;int16;;;;;;;;;
"""


@pytest.mark.parametrize(
    "raw",
    [
        TABLE.encode(),
        b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode(),
        TABLE.encode("utf-16"),
        TABLE.replace(";", "\t").encode(),
        ("sep=;\n" + TABLE).encode(),
        TABLE.replace("KWH", '"KWH"').encode("cp1252"),
    ],
    ids=["plain", "bom and CRLF", "utf-16", "tabs", "sep", "quoted"],
)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, raw: bytes) -> None:
    """Separator, code page and line ends are found out; decimal commas, lists and names in cells mean what they say."""
    config = capper(load(place(tmp_path, raw, "tags:\n  state: {register: holding, address: 0}\n")))
    assert list(config.tags) == ["state", "torque", "mode", "energy", "power", "power_sf"]
    by_name = {field.name: field for field in fields_of(config)}
    assert (by_name["torque"].scale, by_name["torque"].clamp, by_name["torque"].period) == (0.1, (-1.5, 100.0), 500_000_000)
    assert (by_name["mode"].address, by_name["mode"].bad, config.tags["mode"].names) == (
        6,
        (65535, 32767),
        {0: "off", 1: "manual mode"},
    )
    assert (by_name["energy"].scale, by_name["energy"].twice, config.tags["energy"].uom) == (240.0, True, "KWH")
    assert by_name["power"].factor is not None


def test_commas_separate_and_points_are_decimal(tmp_path: Path) -> None:
    """In a table with commas a number has a point, and a cell with commas has quotes; doubled quotes are one."""
    table = 'name,register,address,scale,uom,bad_values\n"t",holding,1,0.5,"a ""b"", c",1|2\n'
    tag = capper(load(place(tmp_path, table))).tags["t"]
    assert (tag.scale, tag.uom, tag.bad_values) == (0.5, 'a "b", c', (1, 2))


def test_windows_text(tmp_path: Path) -> None:
    """A table that is no UTF-8 is what a spreadsheet on Windows saves."""
    tag = capper(load(place(tmp_path, "name;register;address;uom\nt;holding;1;°C\n".encode("cp1252")))).tags["t"]
    assert tag.uom == "°C"


def test_several_tables_and_devices_in_one_file(tmp_path: Path) -> None:
    """tags_from may name several tables, also of a device that stands in the main file; tables need no tags beside them."""
    (tmp_path / "a.csv").write_text("name,register,address\na,holding,1\n")
    (tmp_path / "b.csv").write_text("name,register,address\nb,coil,1\n")
    device = "devices:\n  - {version: 1, device: d, driver: modbus, host: h, tags_from: [a.csv, b.csv]}\n"
    (tmp_path / "agent.yaml").write_text(AGENT + device)
    assert list(capper(load(tmp_path / "agent.yaml")).tags) == ["a", "b"]


def test_a_table_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    """Another address in a table is another meaning of the data."""
    folder = place(tmp_path, "name,register,address\na,holding,1\n")
    before = load(folder).fingerprint
    (folder / "devices" / "capper-tags.csv").write_text("name,register,address\na,holding,2\n")
    assert load(folder).fingerprint != before


def test_every_key_of_a_tag_is_a_column() -> None:
    """What can be written under tags can be written in a table, and nothing else."""
    columns = columns_of("modbus")
    assert columns is not None
    keys = {field.alias or name for name, field in ModbusTag.model_fields.items()}
    assert {column.partition(".")[0] for column in columns} == keys
    assert columns_of("opcua") is None


@pytest.mark.parametrize(
    ("table", "more", "expected"),
    [
        ("", "", [("capper-tags.csv", 1, 1, "the list is empty", "begin with a row of names")]),
        ("name,adress\na,1\n", "", [("capper-tags.csv", 1, 6, "unknown column 'adress'", "did you mean 'address'?")]),
        ("name,type,Type\n", "", [("capper-tags.csv", 1, 11, "the column 'type' stands here a second time", "remove or rename")]),
        ("tag,address\na,1\n", "", [("capper-tags.csv", 1, 1, "no column is called 'name'", "the first row names the columns"),
                                    ("capper-tags.csv", 1, 1, "unknown column 'tag'", "known here")]),
        ("name,register,address\na,holdin,1\n", "", [("capper-tags.csv", 2, 3, "'holdin' is not one of", "did you mean 'holding'?")]),
        ('name,register,address\n"a",holding,x\n', "", [("capper-tags.csv", 2, 13, "address: 'x' is not a whole number", "")]),
        ("name,register,address,scale\na,holding,1,0,5\n", "", [("capper-tags.csv", 2, 15, "more cells than the header's 4", "put quotes")]),
        ("name;register;address;bad_values\na;holding;1;1 x\n", "", [("capper-tags.csv", 2, 13, "bad_values: 'x' is no number", "")]),
        ("name;register;address;names\na;holding;1;off\n", "", [("capper-tags.csv", 2, 13, "names: 'off' is not a table", "")]),
        ("name;register;address\n;holding;1\nb;holding;1\n", "", [("capper-tags.csv", 2, 1, "the row has no name", "give the tag a name")]),
        ("name;register;address\na b;holding;1\n", "", [("capper-tags.csv", 2, 1, "cannot be a name", "use letters")]),
        ("name;register;address\na;holding;1\n\na;holding;2\n", "",
         [("capper-tags.csv", 4, 1, "the tag 'a' stands here a second time (first in capper-tags.csv, line 2)", "rename")]),
        ("name;register;address\na;holding;1\n", "tags:\n  a: {register: holding, address: 7}\n",
         [("capper-tags.csv", 2, 1, "the tag 'a' stands here a second time (first in capper.yaml, line 7)", "rename")]),
        ('name;register;address\n"a;holding;1\n', "", [("capper-tags.csv", 2, 1, "a quotation mark opens here and never closes", "close it")]),
        ("name;register;address;same_read_as\na;holding;1;zz\n", "", [("capper-tags.csv", 2, 1, "zz is no other tag of this device", "")]),
        (b"name;uom\na;\x81\n", "", [("capper.yaml", 5, 12, "is neither UTF-8 nor Windows text", "save it as CSV UTF-8")]),
        ("name;register;address\na;holding;1\n", "poll: 3\n", [("capper.yaml", 6, 7, "poll", "")]),
    ],
)  # fmt: skip
def test_mistakes_are_told_where_they_are(
    tmp_path: Path, table: str | bytes, more: str, expected: list[tuple[str, int, int, str, str]]
) -> None:
    """Each mistake, and no other, is told with the file, row and column of the cell, in words, with what to do."""
    with pytest.raises(InvalidConfigError) as caught:
        load(place(tmp_path, table, more))
    problems = sorted(caught.value.problems, key=lambda problem: problem.message)
    found = [(problem.file.name, problem.line, problem.column, problem.message, problem.remedy) for problem in problems]
    assert len(found) == len(expected), found
    for (file, line, column, message, remedy), said in zip(expected, found, strict=True):
        assert (file, line, column) == said[:3], found
        assert message in said[3], found
        assert remedy in said[4], found


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    """The mistake stands where the table is named."""
    folder = place(tmp_path, "")
    (folder / "devices" / "capper-tags.csv").unlink()
    with pytest.raises(InvalidConfigError) as caught:
        load(folder)
    (problem,) = caught.value.problems
    assert (problem.file.name, problem.line, problem.column) == ("capper.yaml", 5, 12)
    assert "cannot be read: No such file" in problem.message


def test_a_device_without_tags(tmp_path: Path) -> None:
    """Neither tags nor a table: both are offered."""
    folder = place(tmp_path, "name;register;address\n")
    with pytest.raises(InvalidConfigError, match="the device has no tags"):
        load(folder)


def test_units_of_a_device_with_a_wrong_table_are_not_blamed(tmp_path: Path) -> None:
    """Only the table is told to be wrong, not whoever refers to its tags."""
    folder = place(tmp_path, "name;register;address\ncount;holdin;1\n")
    (folder / "units").mkdir()
    counter = "{tag: capper.count, role: good, wraps: uint16, max_rate: 3/s}"
    (folder / "units" / "u.yaml").write_text(
        f"version: 1\nunit: u\npath: [acme, plant1, area, line]\ncounters: {{good: {counter}}}\n"
    )
    with pytest.raises(InvalidConfigError) as caught:
        load(folder)
    assert [problem.file.name for problem in caught.value.problems] == ["capper-tags.csv"]
    (folder / "devices" / "capper-tags.csv").write_text("name;register;address\ncounter;holding;1\n")
    with pytest.raises(InvalidConfigError, match=r"did you mean 'capper\.counter'"):
        load(folder)
    (folder / "devices" / "capper-tags.csv").write_text("name;register;address\ncount;holding;1\n")
    assert len(load(folder).units) == 1


def test_check_shows_row_and_caret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` prints the row with a mark below the cell, as for any other file."""
    folder = place(tmp_path, "name;register;address\nstate;holdin;1\n")
    assert check(folder, as_json=False) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("capper-tags.csv:2:7: register: 'holdin' is not one of 'coil', 'discrete', 'input' or 'holding'")
    assert lines[1:4] == ["    2 | state;holdin;1", "      |       ^", "      -> did you mean 'holding'?"]


def test_cells_remember_their_place() -> None:
    """Quoted cells over several lines do not shift what follows; blanks around cells are no content."""
    table = parse('a ; "b\nb" ;c\n"x"";y";"l1\nl2";z\n')
    assert [[tuple(cell) for cell in row] for row in table.rows] == [
        [("a", 1, 1), ('"b', 1, 4)],
        [('b"', 2, 1), ("c", 2, 5)],
        [('x";y', 3, 1), ("l1\nl2", 3, 9), ("z", 4, 5)],
    ]
    with pytest.raises(UnclosedError) as caught:
        parse('a\nb;"c')
    assert (caught.value.line, caught.value.column) == (2, 3)


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("0,1", ";", "0.1"), ("-1,5e3", ";", "-1.5e3"), (",5", ";", ".5"), ("0,5s", ";", "0.5s"), ("1,5 2,5", ";", "1.5 2.5"),
        ("0,1", ",", "0,1"), ("1,2,3", ";", "1,2,3"), ("1.234,5", ";", "1.234,5"), ("12", ";", "12"),
    ],
)  # fmt: skip
def test_decimal_commas(text: str, separator: str, expected: str) -> None:
    """A comma in a number is its point where commas separate no cells; what could be two things stays as it is."""
    assert number(text, separator) == expected


def test_line_ends_are_one() -> None:
    """Old and new line ends are the same to whoever counts lines."""
    assert decoded(b"a\r\nb\rc\n") == "a\nb\nc\n"
