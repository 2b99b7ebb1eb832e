"""Tables of codes as CSV, and what reasons, states and alarms make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, seconds, tags_of

from edge_agent.events import alarm, downtime, state
from edge_agent.events.alarm import AlarmConfig
from edge_agent.events.codes import DIRECTORY, read_table
from edge_agent.events.reason import meanings
from edge_agent.events.recordconfig import RecordConfig
from edge_agent.events.recorddata import Content
from edge_agent.events.scrap import ScrapConfig
from edge_agent.events.state import StateConfig

TAGS = tags_of("plc.state", "plc.reason", "plc.w0", "plc.w1", "plc.id")
REASONS = """code,text,language,mes,category
2101,Kappendrehmoment,de,M-17,mechanical
2101,"Capper torque, high",en,M-17,mechanical
E7,Door open,en,,safety
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a table of reasons."""
    (tmp_path / "reasons.csv").write_text("\ufeff" + REASONS, encoding="utf-8")
    return tmp_path


def stops(folder: Path, **reason: Any) -> Bench:
    """Return a running bench whose stops have reasons."""
    config = StateConfig.model_validate(
        {"tag": "plc.state", "reason": {"tag": "plc.reason", "table": "reasons.csv", **reason}}, context={DIRECTORY: folder}
    )
    bench = Bench([*state.build(config, unit="filler", tags=TAGS), *downtime.build(None, config, unit="filler", tags=TAGS)])
    bench.say(0, {"plc.state": 6, "plc.reason": 0})
    return bench


@pytest.mark.parametrize(
    ("code", "language", "reason"),
    [
        (2101, "en", {"code": 2101, "text": "Capper torque, high", "mes": "M-17", "category": "mechanical"}),
        (2101, None, {"code": 2101, "text": "Kappendrehmoment", "mes": "M-17", "category": "mechanical"}),
        (2101, "fr", {"code": 2101, "text": "Kappendrehmoment", "mes": "M-17", "category": "mechanical"}),
        ("E7", "en", {"code": "E7", "text": "Door open", "category": "safety"}),
        (999, "en", {"code": 999, "text": None}),
    ],
)
def test_a_reason_is_told_as_the_table_says(folder: Path, code: Any, language: str | None, reason: dict[str, Any]) -> None:
    """Words in the wanted language, the code of the MES beside the machine's own; what no line knows stays a raw number."""
    bench = stops(folder, **({} if language is None else {"language": language}))
    bench.say(10, {"plc.state": 11, "plc.reason": code})
    (started,) = bench.told("downtime.started")
    assert started.data["reason"] == {"source": "plc.reason", **reason}


def test_a_reason_that_comes_after_the_end_is_told_by_itself(folder: Path) -> None:
    """A micro-stop of one second whose reason latches a second later: the same downtime, in its own event (1.5 c)."""
    bench = stops(folder)
    bench.say(10, {"plc.state": 11})
    bench.say(11, {"plc.state": 6})
    (late,) = bench.say(11.8, {"plc.reason": 2101})
    (ended,) = bench.told("downtime.ended")
    assert (ended.data["micro"], ended.data["reason"]) == (True, None)
    assert (late.type, late.data["downtime_id"]) == ("downtime.reason", ended.data["downtime_id"])
    assert (late.data["reason"]["mes"], seconds(late.time)) == ("M-17", 11.8)


def test_scrap_and_records_have_reasons_in_the_wanted_language(folder: Path) -> None:
    """A table of two languages serves scrap and records as it serves stops."""
    reason = {"tag": "plc.reason", "table": "reasons.csv", "language": "en"}
    by_count = ScrapConfig.model_validate({"counter": "reject", "reason": reason}, context={DIRECTORY: folder}).reason
    assert meanings(by_count.table, by_count.language)[2101].text == "Capper torque, high"
    record = {
        "pattern": "seq",
        "seq": "plc.seq",
        "event": "scrap.recorded",
        "fields": {"reason": "plc.reason"},
        "reasons": "reasons.csv",
    }
    config = RecordConfig.model_validate({**record, "language": "en"}, context={DIRECTORY: folder})
    assert Content(config, "rejects")._reasons[2101].text == "Capper torque, high"


def test_a_table_is_part_of_the_configuration(folder: Path) -> None:
    """Its content is in what the fingerprint of the configuration is made from."""
    before = stops_config(folder)
    (folder / "reasons.csv").write_text(REASONS.replace("M-17", "M-18"), encoding="utf-8")
    assert before != stops_config(folder)


def test_a_table_in_a_recording_needs_no_file(folder: Path) -> None:
    """A recording holds the configuration with its tables: it is read where the files are not."""
    config = {"tag": "plc.state", "reason": {"tag": "plc.reason", "table": "reasons.csv"}}
    stored = StateConfig.model_validate(config, context={DIRECTORY: folder}).model_dump(exclude_unset=True)
    reason = StateConfig.model_validate(stored).reason
    assert reason is not None
    assert reason.meanings[2101].mes == "M-17"


def stops_config(folder: Path) -> str:
    """Return the configuration as the fingerprint sees it."""
    config = {"tag": "plc.state", "reason": {"tag": "plc.reason", "table": "reasons.csv"}}
    return StateConfig.model_validate(config, context={DIRECTORY: folder}).model_dump_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("code,txet\n1,A\n", ":1: column 'txet' is not known"),
        ("text,mes\nA,1\n", "no column 'code'"),
        ("code,text\n,A\n", "t.csv:2: the code is missing"),
        ("code,text\n1,A,B\n", "t.csv:2: more cells than columns"),
        ("code,text\n1,A\n1,B\n", "code 1 stands there twice"),
        ("code,severity\n1,0\n", "'0' is no severity"),
        ("code,text\n1," + "x" * 600 + "\n", "has 600 characters"),
        ('code,text\n1,A\n2,"B\n', "t.csv:3: a quotation mark opens here and never closes"),
        ("", "t.csv:1: there is no column 'code'"),
    ],
)
def test_a_table_with_a_mistake_is_refused_at_its_line(tmp_path: Path, text: str, words: str) -> None:
    """Each mistake is told with the line and the remedy."""
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / "t.csv", "t.csv")


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The path that stands in the configuration is named."""
    with pytest.raises(ValueError, match=r"'no\.csv' cannot be read"):
        read_table(tmp_path / "no.csv", "no.csv")
    (tmp_path / "t.csv").write_bytes(b"code,text\n1,\x81\n")
    with pytest.raises(ValueError, match=r"'t\.csv' is no text.*save it as CSV UTF-8"):
        read_table(tmp_path / "t.csv", "t.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    "text",
    [
        'code;text;mes\r\n2101;"Düse verstopft; größer";M-17\r\n# nur im Werk 2\r\n;;\r\n7;Tür offen;\r\n',
        'sep=;\r\ncode;text;mes\r\n2101;"Düse verstopft; größer";M-17\r\n7;Tür offen;\r\n',
        "code\ttext\tmes\n2101\tDüse verstopft; größer\tM-17\n7\tTür offen\t\n",
    ],
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path: Path, text: str, encoding: str) -> None:
    """A German spreadsheet separates with semicolons and writes the Windows code page; nobody can make it write commas."""
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    meanings = read_table(tmp_path / "t.csv", "t.csv").meanings()
    assert {code: (each.text, each.mes) for code, each in meanings.items()} == {
        2101: ("Düse verstopft; größer", "M-17"), 7: ("Tür offen", None),
    }  # fmt: skip


def test_a_state_table_may_be_a_file(tmp_path: Path) -> None:
    """The user's own codes as CSV over a shipped model; a code of neither stays raw and unknown."""
    (tmp_path / "states.csv").write_text("code,text,category\n42,Jogging,running\n43,Waiting,held\n", encoding="utf-8")
    model = {"name": "wrapper", "base": "packml", "table": "states.csv"}
    config = StateConfig.model_validate({"tag": "plc.state", "model": model}, context={DIRECTORY: tmp_path})
    table = state.table_of(config)
    assert [(table.state(code).name, table.state(code).category) for code in (42, 6, 77)] == [
        ("Jogging", "running"), ("Execute", "running"), ("code 77", "unknown"),
    ]  # fmt: skip


def test_a_state_without_a_category_is_refused(tmp_path: Path) -> None:
    """A name alone says nothing to those who do not know the machine."""
    (tmp_path / "states.csv").write_text("code,text\n42,Jogging\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="state 42 has no category"):
        StateConfig.model_validate({"tag": "plc.state", "model": {"table": "states.csv"}}, context={DIRECTORY: tmp_path})


# -- alarms ------------------------------------------------------------------------------------------------------------------

ALARMS = """code,id,text,severity,class,mes
0,A100,Guard door,900,safety,S1
17,,Oil level low,300,process,
2101,,Capper torque,800,mechanical,
"""


def words(folder: Path, **more: Any) -> Bench:
    """Return a bench with two words of alarm bits, all clear."""
    (folder / "alarms.csv").write_text(ALARMS, encoding="utf-8")
    config = AlarmConfig.model_validate({"words": ["plc.w0", "plc.w1"], "table": "alarms.csv", **more}, context={DIRECTORY: folder})
    bench = Bench(alarm.build(config, unit="filler", name="words", tags=TAGS))
    bench.say(0, {"plc.w0": 0, "plc.w1": 0})
    return bench


def test_bits_of_alarm_words_are_alarms_by_the_table(folder: Path) -> None:
    """Bits are numbered over all words; id, text, severity and class are the table's, else the entry's."""
    bench = words(folder)
    (first,) = bench.say(10, {"plc.w0": 1})
    (second,) = bench.say(11, {"plc.w1": 2})
    members = ("alarm_id", "text", "severity", "class", "first_out")
    assert [first.data[m] for m in members] == ["A100", "Guard door", 900, "safety", True]
    assert [second.data[m] for m in members] == ["words.17", "Oil level low", 300, "process", False]
    assert first.data["mes"] == "S1"
    (cleared,) = bench.say(12, {"plc.w0": 0})
    assert (cleared.type, cleared.data["alarm_id"], cleared.data["active_s"]) == ("alarm.cleared", "A100", 2.0)


def test_a_bit_that_no_table_knows_is_an_alarm_with_its_number(folder: Path) -> None:
    """Bit 31 is the sign bit of the second word, and nobody described it: raw number, no words, no guess."""
    bench = words(folder)
    (raised,) = bench.say(10, {"plc.w1": -32768})
    assert (raised.data["alarm_id"], raised.data["text"], raised.data["severity"]) == ("words.31", None, 500)


def test_two_bits_of_one_scan_rise_together(folder: Path) -> None:
    """A word that changes several bits is as many events, and what stood before is left alone."""
    bench = words(folder)
    bench.say(10, {"plc.w0": 0b100})
    events = bench.say(11, {"plc.w0": 0b101 | 0b1000})
    assert [(e.type, e.data["alarm_id"]) for e in events] == [("alarm.raised", "A100"), ("alarm.raised", "words.3")]


def test_a_slot_without_a_message_gets_the_words_of_the_table(folder: Path) -> None:
    """PackML's list with a table: the number is looked up."""
    (folder / "alarms.csv").write_text(ALARMS, encoding="utf-8")
    config = AlarmConfig.model_validate({"slots": [{"id": "plc.id"}], "table": "alarms.csv"}, context={DIRECTORY: folder})
    bench = Bench(alarm.build(config, unit="filler", name="list", tags=TAGS))
    bench.say(0, {"plc.id": 0})
    (raised,) = bench.say(1, {"plc.id": 2101})
    assert (raised.data["alarm_id"], raised.data["text"], raised.data["severity"]) == ("2101", "Capper torque", 800)
    (_, other) = bench.say(2, {"plc.id": 2102})
    assert (other.data["alarm_id"], other.data["text"]) == ("2102", None)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"words": ["plc.w0"], "bit": "plc.id"}, "write one of them"),
        ({"words": ["plc.w0"], "id": "A"}, "ids of words come from the table"),
        ({"bit": "plc.id", "table": "alarms.csv"}, "neither slots nor words"),
    ],
)
def test_alarm_words_have_one_form(folder: Path, config: dict[str, Any], text: str) -> None:
    """Mistakes are told in words."""
    (folder / "alarms.csv").write_text(ALARMS, encoding="utf-8")
    with pytest.raises(ValidationError, match=text):
        AlarmConfig.model_validate(config, context={DIRECTORY: folder})
