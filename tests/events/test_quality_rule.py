"""Records: each key once, acknowledged again when it is shown again, never half of one, never an invented one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import Bench, at, seconds, tags_of

from edge_agent.events.quality import RecordConfig, acknowledge_tags, build, trigger
from edge_agent.model.event import Acknowledge, Context
from edge_agent.model.instant import iso
from edge_agent.model.reading import Quality
from edge_agent.ports import Trigger

REFS = ("plc.seq", "plc.serial", "plc.weight", "plc.verdict", "plc.end", "plc.lot")
TAGS = tags_of(*REFS, acknowledge=("plc.ack",))
ACKED: dict[str, Any] = {
    "pattern": "seq_ack",
    "event": "quality.result",
    "seq": "plc.seq",
    "seq_end": "plc.end",
    "ack": "plc.ack",
    "fields": {"serial": "plc.serial", "value": "plc.weight", "verdict": "plc.verdict"},
    "verdicts": {1: "ok", 2: "nok"},
    "characteristic": "net_weight",
    "uom": "GRM",
}
READ_ONLY = {key: value for key, value in ACKED.items() if key != "ack"} | {"pattern": "seq"}


def bench(config: dict[str, Any] = ACKED, **more: Any) -> Bench:
    """Return a bench with the check weigher."""
    return Bench(build(RecordConfig.model_validate(config | more), unit="filler", name="checkweigher", tags=TAGS))


def show(
    line: Bench, t: float, seq: int, *, end: int | None = None, ack: int = 0, bad: tuple[str, ...] = (), **parts: Any
) -> list[Any]:
    """Show a record in one read and return what was told; ``line.effects`` has the acknowledgements."""
    values = {
        "plc.seq": seq,
        "plc.serial": parts.get("serial", f"S{seq:06d}"),
        "plc.weight": parts.get("weight", 504.0),
        "plc.verdict": parts.get("verdict", 2),
        "plc.end": seq if end is None else end,
        "plc.ack": ack,
    }
    line.effects.clear()
    return line.read(t, "checkweigher", values, bad)


def test_a_record_is_told_once_and_acknowledged() -> None:
    """The demo line's check weigher, as it stands in the catalogue."""
    line = bench(usl=503.9)
    line.picture = type(line.picture)(context=Context(order="WO-1001", lot="L-A"))
    (event,) = show(line, 240, 4)
    assert (event.type, event.time, event.quality) == ("quality.result", at(240), Quality.GOOD)
    assert event.data == {
        "test_id": "checkweigher",
        "characteristic": "net_weight",
        "value": 504.0,
        "uom": "GRM",
        "lsl": None,
        "usl": 503.9,
        "verdict": "nok",
        "unit": {"serial": "S000004", "lot": "L-A"},
        "sample_no": 4,
        "source_key": {"device": "plc", "generation": 0, "seq": 4},
    }
    assert line.effects == [Acknowledge("plc.ack", 4)]
    assert event.correlation == "WO-1001"


def test_a_known_record_is_dropped_and_acknowledged_again() -> None:
    """The acknowledgement was lost: the PLC shows the same Seq again."""
    line = bench()
    show(line, 300, 5)
    assert show(line, 302, 5) == []
    assert line.effects == [Acknowledge("plc.ack", 5)]


def test_a_torn_record_is_left_alone_until_it_is_whole() -> None:
    """Seq and SeqEnd differ: no event, no acknowledgement; the read after it counts."""
    line = bench()
    show(line, 60, 1)
    assert show(line, 120, 2, end=1) == []
    assert line.effects == []
    assert [event.data["source_key"]["seq"] for event in show(line, 120.1, 2)] == [2]


def test_no_record_is_no_record() -> None:
    """Seq 0 is empty."""
    line = bench()
    assert show(line, 1, 0) == []
    assert line.effects == []


@pytest.mark.parametrize("bad", ["plc.seq", "plc.end"])
def test_a_number_of_bad_quality_is_none(bad: str) -> None:
    """Without a good Seq there is no key."""
    line = bench()
    assert show(line, 1, 1, bad=(bad,)) == []
    assert line.effects == []


@pytest.mark.parametrize(("bad", "part", "verdict"), [("plc.weight", "value", "unknown"), ("plc.verdict", "lsl", "unknown")])
def test_a_value_of_bad_quality_is_not_invented(bad: str, part: str, verdict: str) -> None:
    """The record is told, uncertain, without the value and without a verdict."""
    line = bench()
    (event,) = show(line, 60, 1, bad=(bad,))
    assert (event.data[part], event.data["verdict"], event.quality) == (None, verdict, Quality.UNCERTAIN)


def test_a_bad_serial_leaves_the_rest() -> None:
    """The measurement is still one; which unit it was of is not known."""
    line = bench()
    (event,) = show(line, 60, 1, bad=("plc.serial",))
    assert (event.data["unit"]["serial"], event.data["verdict"], event.quality) == (None, "nok", Quality.UNCERTAIN)


@pytest.mark.parametrize("verdict", [0, 3, None])
def test_a_verdict_that_the_table_does_not_know_is_unknown(verdict: Any) -> None:
    """Only listed codes are ok or nok, and a missing one is not code 0."""
    line = bench(verdicts={0: "ok"} if verdict is None else {1: "ok"})
    (event,) = show(line, 60, 1, verdict=verdict)
    assert event.data["verdict"] == "unknown"


def test_a_jump_is_a_gap_of_known_size() -> None:
    """Seq 3 after 1: exactly one record was overwritten."""
    line = bench()
    show(line, 60, 1)
    gap, event = show(line, 180, 3)
    assert gap.type == "collection.gap"
    assert (gap.data["reason"], gap.data["lost"]) == ("handshake_overrun", {"min": 1, "max": 1})
    assert gap.data["interval"] == [iso(at(60)), iso(at(180))]
    assert event.data["source_key"]["seq"] == 3


# -- generations -------------------------------------------------------------------------------------------------------------


def test_a_rebooted_plc_that_counts_from_one_has_new_records() -> None:
    """k=17 of the demo line: Seq 1 of the new boot is no old record."""
    line = bench()
    line.up(0, boot=7)
    show(line, 60, 1, serial="CW-00001")
    line.down(1003, 1000)
    line.up(1020, boot=8)
    (event,) = show(line, 1020, 1, serial="CW-00017")
    assert event.data["source_key"] == {"device": "plc", "generation": 1, "seq": 1}


def test_a_number_that_runs_backwards_opens_a_generation() -> None:
    """No boot evidence, but 1 after 16: another key space."""
    line = bench()
    show(line, 60, 16)
    (event,) = show(line, 120, 1)
    assert event.data["source_key"]["generation"] == 1


def test_a_record_that_survived_a_restart_is_known() -> None:
    """Retentive memory: same number, same content; it is acknowledged again, not told again."""
    line = bench()
    line.up(0, boot=7)
    show(line, 300, 5)
    line.up(1020, boot=8)
    assert show(line, 1020, 5) == []
    assert line.effects == [Acknowledge("plc.ack", 5)]
    (event,) = show(line, 1080, 6)
    assert event.data["source_key"] == {"device": "plc", "generation": 1, "seq": 6}


def test_a_plc_that_goes_on_counting_after_a_restart_lost_nothing() -> None:
    """Retentive memory and a new record: 6 follows 5, no gap."""
    line = bench()
    line.up(0, boot=7)
    show(line, 300, 5)
    line.up(1020, boot=8)
    assert [event.type for event in show(line, 1080, 6)] == ["quality.result"]


def test_numbers_that_are_missing_after_a_restart_are_a_bounded_gap() -> None:
    """Whether the PLC began at 1 is not known: between none and all of them were lost."""
    line = bench()
    line.up(0, boot=7)
    show(line, 60, 1)
    line.up(1020, boot=8)
    gap, _ = show(line, 1020, 3, serial="new")
    assert gap.data["lost"] == {"min": 0, "max": 2}


def test_the_same_boot_again_changes_nothing() -> None:
    """Evidence that is repeated after a lost link is no restart."""
    line = bench()
    line.up(0, boot=7)
    show(line, 60, 1)
    line.up(100, boot=7)
    assert show(line, 101, 1) == []


# -- acknowledgements that are lost on the way -------------------------------------------------------------------------------


def test_an_acknowledgement_that_does_not_arrive_is_written_again() -> None:
    """The record stands there, safe, with another Ack: 5 s later once more, then more rarely; nothing is told twice."""
    line = bench()
    show(line, 300, 5, ack=4)
    line.effects.clear()
    asked = []
    for t in range(301, 340):
        line.tick(t)
        if line.effects:
            asked.append(t)
            line.effects.clear()
    assert asked == [306, 316, 336]
    assert len(line.events) == 1


@pytest.mark.parametrize("seen", [{"plc.ack": 5}, {"plc.seq": 0}])
def test_an_acknowledgement_that_arrived_is_written_once(seen: dict[str, int]) -> None:
    """Ack shows the number, or the record was taken away."""
    line = bench()
    show(line, 300, 5, ack=4)
    line.say(300.2, seen)
    line.effects.clear()
    for t in range(301, 340):
        line.tick(t)
    assert line.effects == []


def test_an_acknowledgement_that_cannot_be_read_is_not_repeated() -> None:
    """Whether it arrived is not known, and nothing is written to a PLC on a guess."""
    line = bench()
    show(line, 300, 5, bad=("plc.ack",))
    line.effects.clear()
    line.tick(400)
    assert line.effects == []


# -- beginnings --------------------------------------------------------------------------------------------------------------


def test_a_record_that_waits_for_its_acknowledgement_is_real() -> None:
    """First sight: Seq 7, Ack 6; nobody has it yet."""
    assert len(show(bench(), 0, 7, ack=6)) == 1


def test_a_record_that_was_acknowledged_before_is_a_baseline() -> None:
    """First sight: Seq 7, Ack 7; somebody had it."""
    line = bench()
    assert show(line, 0, 7, ack=7) == []
    (event,) = show(line, 60, 8, ack=7)
    assert event.data["source_key"]["seq"] == 8


def test_an_acknowledgement_that_cannot_be_read_leaves_the_record_real() -> None:
    """Rather told twice to a consumer that keeps keys than lost."""
    assert len(show(bench(), 0, 7, ack=7, bad=("plc.ack",))) == 1


def test_a_restart_of_the_agent_keeps_the_key() -> None:
    """The record is read again after the restart: dropped and acknowledged again."""
    line = bench()
    show(line, 660, 11)
    line.agent_down(700, 720)
    assert show(line, 720, 11) == []
    assert line.effects == [Acknowledge("plc.ack", 11)]
    assert len(show(line, 721, 12)) == 1


def test_read_only_records_begin_with_a_baseline_and_acknowledge_nothing() -> None:
    """Pattern ``seq``: whether the first was told is not known; then every new number once."""
    line = bench(READ_ONLY)
    assert show(line, 0, 7) == []
    assert [event.data["source_key"]["seq"] for event in show(line, 60, 8)] == [8]
    assert show(line, 61, 8) == []
    assert [event.type for event in show(line, 120, 10)] == ["collection.gap", "quality.result"]
    assert line.effects == []


# -- configuration -----------------------------------------------------------------------------------------------------------


def test_the_trigger_group_reads_the_whole_record_when_its_last_tag_changes() -> None:
    """SeqEnd fires it; Seq, fields, SeqEnd and Ack come in one request."""
    config = RecordConfig.model_validate(ACKED)
    assert trigger(config, name="checkweigher") == (
        "plc",
        Trigger("checkweigher", "end", ("seq", "weight", "verdict", "serial", "end", "ack")),
    )
    assert acknowledge_tags(config) == {"ack"}
    read_only = RecordConfig.model_validate({key: value for key, value in READ_ONLY.items() if key != "seq_end"})
    assert trigger(read_only, name="r")[1].trigger == "seq"
    assert acknowledge_tags(read_only) == frozenset()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pattern": "ring"}, "pattern ring needs write_index and size"),
        ({"pattern": "edge"}, "pattern edge needs trigger"),
        ({"ack": None}, "seq_ack needs ack and seq_end"),
        ({"seq_end": None}, "seq_ack needs ack and seq_end"),
        ({"pattern": "seq"}, "leave ack out"),
        ({"event": "unit.lost"}, "quality.result"),
        ({"event": "unit.produced"}, "unit.produced has no field value"),
        ({"characteristic": None}, "say what was measured"),
        ({"verdicts": {1: "good"}}, "verdicts"),
        ({"fields": {"serial": "plc.serial"}}, "value"),
    ],
)
def test_a_wrong_entry_is_refused(change: dict[str, Any], text: str) -> None:
    """Half a handshake, fields of another event, words that the catalogue does not have."""
    with pytest.raises(ValidationError, match=text):
        RecordConfig.model_validate(ACKED | change)


def test_tags_are_checked_when_the_rule_is_built() -> None:
    """An unknown tag, tags of two devices, and an acknowledgement that the device does not allow."""
    with pytest.raises(
        ValueError, match=r"records\.checkweigher\.fields\.value: no device has a tag 'plc\.wieght'; did you mean 'plc\.weight'"
    ):
        bench(fields={"value": "plc.wieght"})
    tags = tags_of(*REFS, "plc.ack", "other.weight")
    config = RecordConfig.model_validate(ACKED | {"fields": {"value": "other.weight"}})
    with pytest.raises(ValueError, match="tags of other and plc"):
        build(config, unit="filler", name="c", tags=tags)
    with pytest.raises(ValueError, match=r"'plc\.ack' may not be written; add `acknowledge: true`"):
        build(RecordConfig.model_validate(ACKED), unit="filler", name="c", tags=tags)


def test_the_time_of_a_record_is_when_its_number_was_set() -> None:
    """The source time of Seq, however late it is read."""
    line = bench()
    (event,) = show(line, 480, 8)
    assert seconds(event.time) == 480.0
