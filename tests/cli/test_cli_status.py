"""Exit codes and lines for monitoring, and what of the departures a person wants to see."""

from __future__ import annotations

import json

import msgspec
import pytest

from edge_agent.cli.status import CRITICAL, OK, WARNING, _brief, _lines, grade
from edge_agent.cli.tail import Wish, fits, line
from edge_agent.cli.watch import told
from edge_agent.status.report import BufferReport, DeliveryReport, DeviceReport, FaultReport, Status, WorkerReport

NOW = "2026-10-25T04:01:00.000000Z"
LOST = FaultReport("tag_lost", "plc1.speed", "BadNode|IdUnknown \x1b[31m", "compare the address", "warning")
FULL = FaultReport("buffer_full", "buffer", "3 records were dropped", "bring the broker back", "critical")


def report(health: str = "ok", *faults: FaultReport) -> Status:
    """The status of a small gateway."""
    buffer = BufferReport("b", "e", True, "", 4, 1, "2026-10-25T04:00:00.000000Z", 4096, 0, [])
    devices = {
        "plc1": DeviceReport("opcua", "opc.tcp://h", True, True, NOW, None),
        "meter": DeviceReport("modbus", "h", False, False, None, "away"),
    }
    return Status(
        health, ["p"] if health != "ok" else [], "gw1", "1", "s", 7, NOW, NOW, "c", devices, {"filler": "ok"}, [], DeliveryReport(9, 1, 0.1, 1.0, 2.0),
        buffer, faults=list(faults),
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (report(), OK),
        (report("ok", LOST), WARNING),
        (report("degraded"), WARNING),
        (report("degraded", LOST), WARNING),
        (report("degraded", LOST, FULL), CRITICAL),
        (report("critical"), CRITICAL),
    ],
)
def test_the_exit_code_says_how_bad_it_is(status, code):
    """0 only when nobody is wanted, 2 where data are being lost."""
    assert grade(status) == code
    assert _brief(status).startswith(f"{('OK', 'WARNING', 'CRITICAL')[code]} - gw1: ")


def test_the_line_for_monitoring_has_one_bar_and_figures():
    """What a device says can neither steer a terminal nor make figures of its own."""
    text = _brief(report("ok", LOST))
    assert text == (
        "WARNING - gw1: tag_lost plc1.speed: BadNode/IdUnknown \\x1b[31m | devices_up=1;;;0;2 waiting=5 oldest=60s buffer=4096B sent=9c rejected=1c"
    )


def test_the_status_names_each_code_once_with_its_remedy():
    """And says where more stands."""
    second = FaultReport("tag_lost", "plc1.torque", "x", "compare the address", "warning")
    lines = list(_lines(report("ok", LOST, second)))
    assert "  -> tag_lost (plc1.speed, plc1.torque): compare the address" in lines
    assert "     more: edge-agent explain CODE, docs/reference/faults.md" in lines
    assert not any("explain" in each for each in _lines(report()))


def test_the_status_lists_the_workers_and_what_each_reads():
    """With their processes and how often they were started again; nothing of them without `workers`."""
    some = [WorkerReport("1", 4711, True, 0, ["plc1", "meter"]), WorkerReport("2", None, False, 3, ["heater"])]
    lines = list(_lines(msgspec.structs.replace(report(), workers=some)))
    at = lines.index("worker  process  state  restarts  devices")
    assert lines[at + 1 : at + 3] == ["1       4711     up     0         plc1, meter", "2       -        down   3         heater"]
    assert not any("worker" in each for each in _lines(report()))


def test_a_line_of_watch_names_the_faults():
    """State, devices, figures and codes in one line; and one for no agent."""
    assert told(report("ok", LOST)) == f"{NOW} ok devices=1/2 sent=9 waiting=5 tag_lost plc1.speed"
    assert told(None) == "no agent is running"


def departure(
    type_: str = "edgeagent.production.count.v1", stream: str = "filler", kind: str = "E", *, resent: bool = False
) -> dict[str, object]:
    """One record that has left."""
    data = {"epoch": "e", "seq": 7, "counter": "good", "delta": 2, "text": "a\x1bb", "reason": None, "ctx": {"order": "WO-1"}}
    event = {"type": type_, "time": "2026-10-25T04:00:07.250000Z", "data": data}
    return {"wait_ms": 1.26, "stream": stream, "kind": kind, "resent": resent, "event": event}


@pytest.mark.parametrize(
    ("wish", "of", "shown"),
    [
        (Wish(), departure(), True),
        (Wish(), departure(kind="T", stream="filler/telemetry"), False),
        (Wish(telemetry=True), departure(kind="T", stream="filler/telemetry"), True),
        (Wish(units=("capper",)), departure(), False),
        (Wish(units=("capper", "filler")), departure(), True),
        (Wish(units=("filler",), telemetry=True), departure(kind="T", stream="filler/telemetry"), True),
        (Wish(types=("production.count",)), departure(), True),
        (Wish(types=("production.*",)), departure(), True),
        (Wish(types=("edgeagent.production.count.v1",)), departure(), True),
        (Wish(types=("count",)), departure(), True),
        (Wish(types=("downtime.*", "state.changed")), departure(), False),
        (Wish(text="WO-1"), departure(), True),
        (Wish(text="WO-2"), departure(), False),
    ],
)
def test_tail_shows_what_is_wanted(wish, of, shown):
    """By type, by unit, by text; telemetry only when asked for."""
    assert fits(of, json.dumps(of).encode(), wish) is shown


def test_a_line_of_tail_says_what_happened():
    """Time, stream, number, type, data without what every event carries, and the time of the acknowledgement."""
    assert (
        line(departure(resent=True), "edgeagent")
        == "04:00:07.250 filler #7 production.count (again) counter=good delta=2 text=a\\x1bb [1.3 ms]"
    )
