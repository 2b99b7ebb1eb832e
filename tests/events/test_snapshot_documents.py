"""Snapshots as events, and the documents beside the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from derive_feed import METER, PLC, Counter, at, batch, run, tick

from edge_agent.events.catalog import UnitConfig
from edge_agent.events.derive import Fold, Tick
from edge_agent.events.keyframe import SnapshotRule
from edge_agent.events.rule import CounterFacts, Picture, StateFacts
from edge_agent.events.snapshot import checkpoint_document, meta_document, state_document
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import AgentDown, Batch, DeviceDown, DeviceUp, Tag

_UP = (DeviceUp("plc", at(0)),)
_PICTURE = Picture(
    context=Context("A", "P", "L", "Production", "N"),
    mode_code=1,
    state=StateFacts(6, "Execute", "running", at(43), "packml"),
    downtime="filler/downtime/5",
    counters={
        "total": CounterFacts("total", 754, 106, 2**31, "7"),
        "el": CounterFacts("energy", 283, 99_999_900, 10**8, scale=0.01, uom="KWH"),
        "big": CounterFacts("good", 2**60, 2**63),
    },
    alarms={"filler/2101/1": {"alarm_id": "2101", "severity": 800}},
    down=frozenset({"heater"}),
)


def _reasons(events: list[ProductionEvent]) -> list[tuple[str, int]]:
    return [(event.data["reason"], event.time) for event in events if event.type == "state.snapshot"]


def _fold() -> Fold:
    return Fold("unit", [Counter(), SnapshotRule(counters=("total",))], {"plc": PLC, "meter": METER})


def _ticks(start: int, stop: int) -> list[list[Batch | Tick]]:
    return [[tick(second)] for second in range(start, stop)]


_BASELINE = [batch(0.2, ("count", 5, 0), before=_UP)]


def test_a_start_is_told_when_the_baseline_is_complete():
    """Not before every counter was seen, and then once."""
    events, turn = run(_fold(), *_ticks(0, 3), _BASELINE, *_ticks(3, 9))
    assert [reason for reason, _ in _reasons(events)] == ["start"]
    assert turn.state.picture.counters["total"].total == 0


def test_a_start_without_all_devices_is_told_after_five_seconds():
    """What does not answer is named, not waited for."""
    events, _ = run(_fold(), [batch(0, after=(DeviceDown("plc", at(0), None, "refused"),))], *_ticks(1, 12))
    ((reason, time),) = _reasons(events)
    assert (reason, at(5) <= time <= at(7)) == ("start", True)
    (snapshot,) = [event for event in events if event.type == "state.snapshot"]
    assert snapshot.data["down"] == ["plc"]


def test_a_reconnect_is_told_when_the_data_are_back():
    """While the device is away nothing is told; after it is back, once."""
    cut = [batch(5, after=(DeviceDown("plc", at(5), at(4), "gone"),))]
    back = [batch(20, ("count", 9, 20), before=(DeviceUp("plc", at(20)),))]
    events, _ = run(_fold(), _BASELINE, *_ticks(1, 5), cut, *_ticks(6, 20), back, *_ticks(21, 25))
    assert [reason for reason, _ in _reasons(events)] == ["start", "reconnect"]
    assert _reasons(events)[1][1] > at(20)


def test_a_restart_of_the_agent_is_told_when_the_data_are_back():
    """The stored picture alone is not news: the snapshot waits for the devices."""
    fold = _fold()
    _, turn = run(fold, _BASELINE, *_ticks(1, 5))
    state, _ = fold.start(fold.stored(turn.state))
    away = [batch(20, device="", before=(AgentDown(at(5), at(20)),))]
    meter = [batch(21, before=(DeviceUp("meter", at(21)),), device="meter")]
    back = [batch(22, ("count", 9, 22), before=(DeviceUp("plc", at(22)),))]
    events, _ = run(fold, away, meter, [tick(21)], back, *_ticks(22, 26), state=state)
    ((reason, time),) = _reasons(events)
    assert (reason, time > at(22)) == ("agent_restart", True)


def test_every_hour_and_at_the_end():
    """Once at the first tick of an hour, and with the last tick."""
    events, _ = run(
        _fold(), _BASELINE, *_ticks(1, 4), [tick(599)], [tick(600)], [tick(601)], [tick(602)], [tick(650.5, final=True)]
    )
    assert _reasons(events)[1:] == [("hourly", at(600)), ("final", at(650.5))]


def test_a_state_document_is_the_picture():
    """The retained state holds what is true now, and after which event."""
    document = json.loads(state_document(_PICTURE, unit="filler", time=at(60), epoch="01JB", seq=12))
    assert document == {
        "unit": "filler", "time": "2026-10-25T04:51:00.000000Z", "epoch": "01JB", "seq": 12,
        "state": {"code": 6, "name": "Execute", "category": "running", "model": "packml"},
        "since": "2026-10-25T04:50:43.000000Z", "mode": {"code": 1, "name": "Production"},
        "order": "A", "product": "P", "lot": "L", "shift": "N", "totals": {"total": 754, "el": 2.83, "big": str(2**60)},
        "alarms": [{"instance_id": "filler/2101/1", "alarm_id": "2101", "severity": 800}], "downtime_id": "filler/downtime/5",
        "down": ["heater"],
        "ctx": {"order": "A", "product": "P", "lot": "L", "mode": "Production", "shift": "N", "recipe": None, "operator": None},
    }  # fmt: skip


def test_an_empty_picture_has_a_document_too():
    """Before anything was seen the state is unknown, not zero."""
    document = json.loads(state_document(Picture(), unit="filler", time=at(0), epoch="01JB", seq=0))
    assert (document["state"], document["mode"], document["order"], document["totals"]) == (None, None, None, {})


def test_a_checkpoint_proves_where_the_stream_stands():
    """Numbers, totals, what is open, and per counter what a blank gateway needs to go on."""

    def checkpoint(picture: Picture) -> dict[str, Any]:
        sent = checkpoint_document(
            picture, unit="filler", time=at(60), epoch="01JB", first_seq=1, last_seq=9, published_seq=7, watermark=at(55)
        )
        document: dict[str, Any] = json.loads(sent)
        return document

    document = checkpoint(_PICTURE)
    assert (document["stream"], document["epoch"], document["first_seq"], document["last_seq"], document["published_seq"]) == (
        "filler",
        "01JB",
        1,
        9,
        7,
    )
    assert document["watermark"] == "2026-10-25T04:50:55.000000Z"
    assert document["totals"] == {"total": 754, "el": 2.83, "big": str(2**60)}
    assert document["open"] == {
        "state": {"code": 6, "name": "Execute", "category": "running", "model": "packml"},
        "since": "2026-10-25T04:50:43.000000Z",
        "order": "A",
        "downtime_id": "filler/downtime/5",
        "alarms": ["filler/2101/1"],
    }
    assert document["counters"]["total"] == {
        "role": "total", "raw": "106", "total": 754, "modulus": 2**31, "boot": "7", "scale": 1.0, "uom": "H87",
    }  # fmt: skip
    assert document["counters"]["big"]["raw"] == str(2**63)
    assert document["digest"] == checkpoint(_PICTURE)["digest"]
    assert document["digest"] != checkpoint(Picture())["digest"]


@pytest.mark.parametrize(("role", "gross"), [("total", ["good", "scrap"]), ("good", [])])
def test_the_birth_says_what_moves_quantities(role: str, gross: list[str]):
    """One type books; what a total includes is said, not guessed."""
    unit = {
        "version": 1,
        "unit": "filler",
        "path": ["acme"],
        "counters": {"total": {"tag": "plc.count", "role": role, "wraps": "uint16", "max_rate": "3/s"}},
        "telemetry": {"tags": ["plc.speed", "plc.mode"]},
    }
    tags = {"plc.count": Tag("plc", "count", "uint16"), "plc.speed": Tag("plc", "speed", "float32", uom="/min")}
    tags["plc.mode"] = Tag("plc", "mode", "int32", names=((1, "Manual"), (2, "Auto")))
    document = json.loads(meta_document(UnitConfig.model_validate(unit), tags=tags, cfg="abc"))
    assert (document["books"], document["gross_includes"], document["cfg"]) == ("production.count", gross, "abc")
    assert document["counters"] == {"total": {"tag": "plc.count", "role": role, "uom": "H87", "wraps": "uint16"}}
    assert document["tags"]["plc.speed"] == {"type": "float32", "uom": "/min"}
    assert document["tags"]["plc.mode"] == {"type": "int32", "uom": None, "names": {"1": "Manual", "2": "Auto"}}
