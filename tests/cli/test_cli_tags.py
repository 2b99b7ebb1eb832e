"""Tag lists as tables: what goes out comes in again, exports of TIA Portal become tags, and a mistake changes nothing."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from live_agent import ROOT

from edge_agent.cli import tia
from edge_agent.cli.sheet import sheets
from edge_agent.cli.tags import import_
from edge_agent.config.load import load
from edge_agent.events.codes import read_table
from edge_agent.model.errors import EdgeAgentError

AGENT = 'version: 1\nagent: gw1\nsite: [acme]\nmqtt: {broker: "mqtt://b", allow_insecure: true}\nbuffer: {path: ./b}\n'
METER = """\
# a comment that stays
version: 1
device: meter
driver: modbus
host: 10.0.0.6
poll: 1s
tags:
  status: {register: input, address: 0}   # and this one
"""
PLC = """\
version: 1
device: plc1
driver: opcua
url: opc.tcp://10.0.0.5
allow_insecure: true
tags:
  server_state: {node: "ns=0;i=2259", type: int32}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gateway with a Modbus meter and an OPC UA PLC."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "agent.yaml").write_text(AGENT)
    (tmp_path / "devices" / "meter.yaml").write_text(METER)
    (tmp_path / "devices" / "plc1.yaml").write_text(PLC)
    return tmp_path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `edge-agent tags` as a process."""
    command = [sys.executable, "-m", "edge_agent", "tags", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done
    return done


def tags(folder: Path, device: str) -> dict[str, object]:
    """Return the tags of a device as they are loaded."""
    return dict(next(each for each in load(folder).devices if each.device == device).tags)


def workbook(file: Path, **pages: list[list[str]]) -> Path:
    """Write an .xlsx with these pages; texts are shared, as Excel writes them."""
    texts = sorted({cell for rows in pages.values() for row in rows for cell in row})
    with zipfile.ZipFile(file, "w") as book:
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        names = "".join(f'<sheet name="{name}" sheetId="{at}"/>' for at, name in enumerate(pages, 1))
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{main}"><sheets>{names}</sheets></workbook>')
        shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{shared}</sst>')
        for at, rows in enumerate(pages.values(), 1):
            cells = "".join(
                f'<row r="{number}">'
                + "".join(
                    f'<c r="{chr(65 + x)}{number}" t="s"><v>{texts.index(cell)}</v></c>' for x, cell in enumerate(row) if cell
                )
                + "</row>"
                for number, row in enumerate(rows, 1)
            )
            book.writestr(f"xl/worksheets/sheet{at}.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>')
    return file


@pytest.mark.parametrize("options", [[], ["--decimal-comma"], ["--separator", ","], ["--separator", "tab", "--decimal-comma"]])
def test_what_goes_out_comes_in_again(folder, options):
    """Every tag of the demo line's meter and PLC is the same after a way through a table, in any separator and decimal sign."""
    own = {"meter": "status", "plc1": "server_state"}
    for device, name in (("meter-main", "meter"), ("plc1", "plc1"), ("heater", "meter")):
        table, target = folder / f"{device}.csv", folder / "devices" / f"{name}.yaml"
        assert run("export", device, "-c", ROOT / "config", "-o", table, *options).returncode == 0
        before = target.read_text()
        target.write_text(before.replace("allow_insecure: true\n", "allow_insecure: true\nnamespace: urn:edge-agent:demo-line\n"))
        done = run("import", table, "--to", target)
        assert done.returncode == 0, done.stderr
        wanted, found = tags(ROOT / "config", device), tags(folder, name)
        assert {key: tag for key, tag in found.items() if key != own[name]} == {
            key: tag for key, tag in wanted.items() if key != own[name]
        }
        target.write_text(before)


def test_a_table_of_a_spreadsheet_with_decimal_commas_is_added(folder):
    """Comments and tags that are there stay; a row that is there already is not added twice."""
    (folder / "t.csv").write_bytes(
        "name;register;address;type;scale;uom\r\ntorque;input;4;float32;0,1;N.m\r\nstatus;input;9;;;\r\n".encode("cp1252")
    )
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 tag added, 0 lines as comments, 1 were there already" in done.stdout
    text = (folder / "devices" / "meter.yaml").read_text()
    assert text.startswith(METER)
    assert tags(folder, "meter")["torque"].scale == 0.1


def test_a_dry_run_shows_and_changes_nothing(folder):
    """The lines are printed; the file stays."""
    (folder / "t.csv").write_text("name;register;address\ntorque;input;4\n")
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml", "--dry-run")
    assert done.stdout == "  torque: {register: input, address: 4}\n"
    assert (folder / "devices" / "meter.yaml").read_text() == METER


def test_every_mistake_of_a_table_is_told_at_its_row_and_nothing_changes(folder):
    """Row, cause and remedy, all at once."""
    (folder / "t.csv").write_text("name;regster;register;address;type\na;;inputt;4;\n;;input;5;\nb;;input;6;unt16\nb;;input;7;\n")
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml")
    assert done.returncode == 78
    for words in (
        "t.csv:1: unknown column 'regster'; did you mean 'register'?",
        "t.csv:2: register: 'inputt' is not one of",
        "t.csv:3: the row has no name",
        "t.csv:4: type: 'unt16' is not one of",
        "t.csv:5: the tag 'b' stands here a second time",
        "5 mistakes; nothing was changed",
    ):
        assert words in done.stderr
    assert (folder / "devices" / "meter.yaml").read_text() == METER


def test_what_only_the_whole_device_shows_changes_nothing_either(folder):
    """A tag that refers to one that there is not is refused by the device's own check; no file is left behind."""
    (folder / "t.csv").write_text("name;register;address;same_read_as\na;input;4;nobody\n")
    before = sorted((folder / "devices").iterdir())
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml")
    assert done.returncode == 78
    assert "nobody" in done.stderr
    assert sorted((folder / "devices").iterdir()) == before
    assert (folder / "devices" / "meter.yaml").read_text() == METER


def test_a_name_with_an_umlaut_is_told_at_its_row(folder):
    """The row of the table, not a line of a copy that nobody has seen."""
    (folder / "t.csv").write_text("name;register;address\nVorlauf;input;10\nRücklauf;input;11\n")
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml")
    assert done.returncode == 78
    assert "t.csv:3: 'Rücklauf' cannot be a name; use letters, digits, '_' and '-'" in done.stderr
    assert (folder / "devices" / "meter.yaml").read_text() == METER


def test_what_only_the_whole_device_shows_names_the_device_file(folder):
    """The place is in the file that was named, not in the copy that was tried."""
    (folder / "t.csv").write_text("name;register;address;same_read_as\na;input;4;nobody\n")
    done = run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml")
    assert f"{folder / 'devices' / 'meter.yaml'}:" in done.stderr
    assert "/.meter-" not in done.stderr


def test_a_unit_of_measure_stays_as_it_is_written(folder):
    """Degrees, not an escape sequence that nobody can read."""
    (folder / "t.csv").write_text("name;register;address;uom\na;input;4;°C\n")
    assert run("import", folder / "t.csv", "--to", folder / "devices" / "meter.yaml").returncode == 0
    assert 'uom: "°C"' in (folder / "devices" / "meter.yaml").read_text(encoding="utf-8")


NODESET = """\
<?xml version="1.0" encoding="utf-8"?>
<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd" xmlns:si="http://www.siemens.com/OPCUA/2017/SimaticNodeSetExtensions">
  <NamespaceUris><Uri>http://Filler</Uri><Uri>http://www.siemens.com/simatic-s7-opcua</Uri></NamespaceUris>
  <Aliases><Alias Alias="BOOL">i=1</Alias><Alias Alias="INT">i=4</Alias><Alias Alias="HasComponent">i=47</Alias><Alias Alias="DWORD">ns=2;i=3003</Alias></Aliases>
  <UAObject NodeId="ns=1;i=1" BrowseName="1:Filler"/>
  <UAObject NodeId="ns=1;i=2" BrowseName="1:Status"><References><Reference ReferenceType="HasComponent" IsForward="false">ns=1;i=1</Reference></References></UAObject>
  <UAVariable NodeId="ns=1;i=3" BrowseName="1:Running" DataType="BOOL"><References><Reference ReferenceType="HasComponent" IsForward="false">ns=1;i=2</Reference></References>
    <Extensions><Extension><si:VariableMapping>"DB_Filler"."Running"</si:VariableMapping></Extension></Extensions></UAVariable>
  <UAVariable NodeId="ns=2;s=&quot;DB&quot;.&quot;Count&quot;" BrowseName="2:Count" DataType="DWORD" ParentNodeId="ns=1;i=2"/>
  <UAVariable NodeId="ns=1;i=5" BrowseName="1:Speeds" DataType="i=10" ValueRank="1" ParentNodeId="ns=1;i=2"/>
  <UAVariable NodeId="ns=1;i=6" BrowseName="1:Recipe" DataType="ns=1;i=99" ParentNodeId="ns=1;i=2"/>
  <UAVariable NodeId="ns=1;i=7" BrowseName="0:EnumStrings" DataType="i=21"><References><Reference ReferenceType="HasProperty" IsForward="false">ns=1;i=3</Reference></References></UAVariable>
  <UADataType NodeId="ns=1;i=50" BrowseName="1:Level"><References><Reference ReferenceType="HasSubtype" IsForward="false">i=6</Reference></References></UADataType>
  <UAVariable NodeId="ns=1;i=8" BrowseName="1:Level" DataType="ns=1;i=50" ParentNodeId="ns=1;i=2"/>
</UANodeSet>
"""


def test_a_nodeset_of_tia_portal_becomes_tags(folder):
    """Addresses by URI, names by the path, types by alias, by subtype and by name; what cannot be a tag is a comment."""
    (folder / "Filler.xml").write_text(NODESET)
    done = run("import", folder / "Filler.xml", "--to", folder / "devices" / "plc1.yaml")
    assert done.returncode == 0, done.stderr
    assert "3 tags added, 2 lines as comments" in done.stdout
    found = tags(folder, "plc1")
    assert {name: (tag.node, tag.type) for name, tag in found.items() if name != "server_state"} == {
        "Status_Running": ("nsu=http://Filler;i=3", "bool"),
        "Status_Count": ('nsu=http://www.siemens.com/simatic-s7-opcua;s="DB"."Count"', "uint32"),
        "Status_Level": ("nsu=http://Filler;i=8", "int32"),
    }
    text = (folder / "devices" / "plc1.yaml").read_text()
    assert '# "DB_Filler"."Running"' in text
    assert "# Status_Speeds:" in text
    assert "an array: add index: 0" in text
    again = run("import", folder / "Filler.xml", "--to", folder / "devices" / "plc1.yaml", "--dry-run")
    assert "0 tags would be added" in again.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><x/>', "declares a document type"),
        ("<x>", "is no XML"),
        ("<x/>", "is no OPC UA nodeset"),
    ],
)
def test_a_file_that_is_no_nodeset_is_refused(tmp_path, text, words):
    """In words, and without expanding anything."""
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(EdgeAgentError, match=words):
        tia.nodeset(tmp_path / "x.xml")


@pytest.mark.parametrize(
    "headings",
    [
        ["Name", "Path", "Data Type", "Logical Address", "Comment", "Hmi Visible", "Hmi Accessible"],
        ["Name", "Pfad", "Datentyp", "Logische Adresse", "Kommentar", "x", "Hmi Accessible"],
    ],
)
def test_a_plc_tag_table_becomes_tags(folder, headings):
    """Of an .xlsx in English or German: symbolic addresses of the SIMATIC interface; what the HMI may not see is a comment."""
    rows = [
        headings,
        ["Good parts", "Default tag table", "DInt", "%MD10", "all good ones", "True", "True"],
        ["Hidden", "Default tag table", "Bool", "%M0.1", "", "False", "False"],
        ["Delay", "Default tag table", "IEC_TIMER", "%T1", "", "True", "True"],
    ]
    file = workbook(folder / "PLCTags.xlsx", Info=[["nothing here"]], **{"PLC Tags": rows})
    import_(file, folder / "devices" / "plc1.yaml", "auto", dry_run=False)
    found = tags(folder, "plc1")
    assert found.keys() == {"server_state", "Good_parts"}
    assert (found["Good_parts"].node, found["Good_parts"].type) == (
        'nsu=http://www.siemens.com/simatic-s7-opcua;s="Good parts"',
        "int32",
    )
    text = (folder / "devices" / "plc1.yaml").read_text()
    assert "# %MD10 all good ones" in text
    assert "not accessible from HMI/OPC UA" in text
    assert "type IEC_TIMER is none" in text


def test_alarm_texts_become_a_table_of_codes(folder):
    """Of an alarm export, in all its languages; the table is one that the configuration reads."""
    rows = [
        ["ID", "Name", "Alarm text [en-US], Alarm text 1", "Alarm text [de-DE], Alarm text 1", "Class"],
        ["2101", "Alarm_1", "Capper torque fault", "Drehmoment, Verschliesser", "Errors"],
        ["2102", "Alarm_2", "No caps", "<No value>", "Warnings"],
    ]
    file = workbook(folder / "HMIAlarms.xlsx", DiscreteAlarms=rows)
    out = folder / "reasons.csv"
    done = run("import", file, "--from", "tia-texts", "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    table = read_table(out, "reasons.csv")
    assert table.meanings("de-DE")[2101].text == "Drehmoment, Verschliesser"
    assert table.meanings("en-US")[2102].text == "No caps"
    again = run("import", file, "--from", "tia-texts", "-o", out)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)


def test_a_table_without_its_headings_is_told(folder):
    """What it would have to have is named."""
    with pytest.raises(EdgeAgentError, match="no table in it has columns 'name' and 'data type'"):
        tia.tag_table(workbook(folder / "x.xlsx", A=[["a", "b"]]))
    (folder / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(EdgeAgentError, match=r"save it as \.xlsx or as CSV"):
        sheets(folder / "old.xls")
    (folder / "bad.xlsx").write_bytes(b"PKnothing")
    with pytest.raises(EdgeAgentError, match=r"is no \.xlsx workbook"):
        sheets(folder / "bad.xlsx")
    with pytest.raises(EdgeAgentError, match="OPC UA variables"):
        import_(folder / "x.xlsx", folder / "devices" / "meter.yaml", "auto", dry_run=True)
