"""``edge-agent plan``: exactly these lines, these figures, and an exit code that a script can use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.config.load import InvalidConfigError, load

AGENT = """\
version: 1
agent: gw1
site: [acme, plant1]
mqtt: {broker: "mqtt://127.0.0.1:1", allow_insecure: true}
buffer: {path: ./buffer}
"""


def gateway(folder: Path, **devices: str) -> Path:
    """Write a configuration with these device files."""
    (folder / "devices").mkdir(parents=True)
    (folder / "agent.yaml").write_text(AGENT)
    for name, text in devices.items():
        tags = "".join(f"  r{n}: {{register: holding, address: {n}}}\n" for n in range(10))
        (folder / "devices" / f"{name}.yaml").write_text(f"version: 1\ndevice: {name}\ndriver: modbus\n{text}\ntags:\n{tags}")
    return folder


LINE = "serial: /dev/ttyUSB0\nbaud: 9600\nunit_id: {unit}\npoll: {poll}"
GOLDEN = """\
modbus-rtu:/dev/ttyUSB0 (9600 baud)
  DEVICE  UNIT  EVERY  TAGS  REQUESTS  BYTES  TIME     SHARE
  a       1     500ms  10    1         33     55.8 ms  11.2%
  b       2     1s     10    1         33     55.8 ms  5.6%
  a every 500ms: holding 0-9
  b every 1s: holding 0-9
  together 3.0 requests/s, 99 bytes/s, 16.8% of the time
  counted: the bytes at that speed and the silence between them, and 10 ms an answer for device and network (assumed; --answer)
"""


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Run a command; returns exit code, output and complaints."""
    monkeypatch.setattr(sys, "argv", ["edge-agent", *words])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_the_plan_of_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two units on a serial line: a table, the sum, what is assumed, and what a dead unit costs."""
    folder = gateway(tmp_path, a=LINE.format(unit=1, poll="500ms"), b=LINE.format(unit=2, poll="1s"))
    code, out, err = run(capsys, monkeypatch, "plan", "-c", str(folder), "--blocks")
    assert (code, err) == (0, "")
    assert out.startswith(GOLDEN)
    assert out.removeprefix(GOLDEN).startswith(
        "  one unit dead: 1.6 s once (worst: a; timeout 1 s, 0.4 s to be sure, 0.2 s until the line is believed again), "
        "then its probes take at most 4.0% of the time; together 20.8%\n    until it is noticed, polls are left out, as a declared gap, of: b;"
    )


def test_a_numbered_line_needs_no_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TCP a dead unit costs its timeout and the wait that makes sure; a period that is longer than the timeout loses no poll."""
    folder = gateway(tmp_path, a="host: 10.0.0.5\npoll: 2s\nunit_id: 1", b="host: 10.0.0.5\npoll: 2s\nunit_id: 2\ntimeout: 200ms")
    code, out, _ = run(capsys, monkeypatch, "plan", "-c", str(folder))
    assert code == 0
    assert "  one unit dead: 1.4 s once (worst: a; timeout 1 s, 0.4 s to be sure), then" in out
    assert "left out" not in out


def test_the_plan_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures for programs; the assumption is the one that was given."""
    folder = gateway(tmp_path, a="host: 10.0.0.5\npoll: 500ms")
    code, out, _ = run(capsys, monkeypatch, "plan", "-c", str(folder), "--answer", "25ms", "--json")
    (load,) = json.loads(out)
    assert code == 0
    assert (load["endpoint"], load["line"], load["assumed_answer_seconds"]) == ("modbus-tcp://10.0.0.5:502", None, 0.025)
    assert load["polls"] == [
        {
            "device": "a", "unit_id": 1, "period_seconds": 0.5, "tags": 10, "requests": 1, "bytes": 41, "seconds": 0.025,
            "share": 0.05, "blocks": ["holding 0-9"],
        }
    ]  # fmt: skip
    assert (load["one_dead"], load["problems"]) == (None, [])


def test_a_period_that_cannot_hold_fails_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the assumption that was given; exit code 1, the reason and the remedy on stderr."""
    folder = gateway(tmp_path, a="host: 10.0.0.5\npoll: 20ms")
    code, _, err = run(capsys, monkeypatch, "plan", "-c", str(folder), "--answer", "30ms")
    assert code == 1
    assert err.startswith(
        "cannot hold: modbus-tcp://10.0.0.5:502: the polls need 150% of the connection's time; make their periods at least 1.5"
    )


def test_check_refuses_what_no_device_can_hold(tmp_path: Path) -> None:
    """The bytes of a slow line alone need too long: one problem, at the poll period of a device, with the remedy."""
    slow = LINE.replace("9600", "300")
    folder = gateway(tmp_path, a=slow.format(unit=1, poll="500ms"), b=slow.format(unit=2, poll="500ms"))
    with pytest.raises(InvalidConfigError) as found:
        load(folder)
    (problem,) = found.value.problems
    assert (problem.file.name, problem.line) == ("a.yaml", 7)
    assert problem.message == "modbus-rtu:/dev/ttyUSB0: the polls need 587% of the connection's time"
    assert problem.remedy.startswith("make their periods at least 5.9 times as long")


@pytest.mark.parametrize(
    ("words", "told"), [(["--answer", "soon"], "--answer: 'soon' is not a duration"), (["x"], "there is no device x")]
)
def test_what_the_plan_cannot_take_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    """A wrong option is one line and exit code 78."""
    folder = gateway(tmp_path, a="host: 10.0.0.5")
    code, _, err = run(capsys, monkeypatch, "plan", "-c", str(folder), *words)
    assert (code, told in err) == (78, True)


def test_the_plan_needs_no_protocol_library() -> None:
    """Planning is arithmetic: neither pymodbus nor asyncua is imported for it."""
    script = "import sys, edge_agent.cli.plan; print(sorted({'pymodbus', 'asyncua', 'serial'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
