"""Mapping tests: the example of the demo line passes, failures say what differs and where, mistakes are told at their line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.cli.mapping import test as run_tests
from edge_agent.config.load import InvalidConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the demo line's configuration without its tests."""
    folder = shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.rmtree(folder / "tests")
    return folder


def told(config: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a file of one test; return exit code and what is printed."""
    file = config / "tests" / "one.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text("version: 1\ntests:\n" + text, encoding="utf-8")
    code = run_tests([file], None, watch=False, verbose=False)
    return code, capsys.readouterr().out.replace(str(file), "one.yaml")


def test_the_example_of_the_demo_line_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-agent test` on the shipped configuration: every test of it, by default those in its folder tests/."""
    assert run_tests([], ROOT / "config", watch=False, verbose=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "14 passed"
    assert [line[:5] for line in lines[:-1]] == ["ok   "] * 14


def test_a_failure_shows_the_difference_and_what_came(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File and line of the test and of the expectation, the nearest event with what differs, and everything in order."""
    text = """\
  - test: Three parts
    given:
      - {at: 0s, plc1.acc_count: 10, plc1.state: 6}
      - {at: 2s, plc1.acc_count: 12}
    expect:
      - {event: production.count, counter: total, at: 3s, delta: 3, ctx.shift: M}
"""
    code, out = told(config, text, capsys)
    assert code == 1
    lines = out.splitlines()
    assert lines[:6] == [
        "FAIL  one.yaml:3: Three parts",
        "  line 8: did not come: {event: production.count, at: 3s, counter: total, delta: 3, ctx.shift: M}",
        "    the nearest is production.count at 2s, with",
        "    - at: 3s",
        "    + at: 2s",
        "    - delta: 3",
    ]
    assert any(line.endswith("+ delta: 2") for line in lines)
    assert lines[-1] == "0 passed, 1 failed"
    assert [line.split()[1] for line in lines if "production.count  counter" in line] == ["production.count"]


@pytest.mark.parametrize(
    ("expect", "line"),
    [
        ("    expect: [{event: order.started}]", "    no order.started came at all"),
        ("    none: [production.count]", "  line 6: must not come, and came:"),
        ("    none: [{event: production.count, delta: 2}]", "  line 6: must not come, and came:"),
        ("    only: [production.count]", "  not expected, and only: [production.count] says so:"),
        ("    only: true", "  not expected, and only says so:"),
        (
            "    expect: [{event: production.count}, {event: counter.discontinuity, counter: total}]",
            "    it came before them, at 0s",
        ),
        ("    expect: [{event: production.count, weight: 3}]", "    + weight: (there is no such member)"),
    ],
)
def test_each_kind_of_failure_has_its_words(config: Path, capsys: pytest.CaptureFixture[str], expect: str, line: str) -> None:
    """What is missing, unwanted, unexpected or out of order is told as that."""
    given = "    given: [{at: 0s, plc1.acc_count: 10}, {at: 2s, plc1.acc_count: 12}]\n"
    code, out = told(config, f"  - test: x\n{given}{expect}\n".replace("expect:", "expect:"), capsys)
    assert code == 1
    assert line.replace("line 6", "line 5") in out.splitlines()


def test_a_rule_that_is_mapped_wrongly_fails_the_example(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example notices mistakes of a mapping: another wrap, and a state that is no PackML."""
    unit = config / "units" / "filler.yaml"
    example = ROOT / "config" / "tests" / "filler.yaml"
    for old, new in (
        ("wraps: packml", "wraps: never"),
        ("micro_stop: 10s", "micro_stop: 3s"),
        ("order: plc1.order", "lot: plc1.order"),
    ):
        text = unit.read_text(encoding="utf-8")
        assert old in text
        broken = text.replace("  lot: plc1.lot\n", "") if new.startswith("lot") else text
        unit.write_text(broken.replace(old, new), encoding="utf-8")
        assert run_tests([example], config, watch=False, verbose=False) == 1, new
        unit.write_text(text, encoding="utf-8")
    capsys.readouterr()


MISTAKES = [
    ("given: [{at: 0s, plc1.acc_cout: 5}]", 4, "no device has a tag 'plc1.acc_cout'", "did you mean 'plc1.acc_count'?"),
    ("given: [{at: 0s, dwn: plc1}]", 4, "'dwn' is neither a tag nor something that can happen", "did you mean 'down'?"),
    ("given: [{at: 0s, down: plc2}]", 4, "there is no device 'plc2'", "did you mean 'plc1'?"),
    ("given: [{at: 5, plc1.state: 6}]", 4, "5 is not a duration", "write a number with its unit"),
    ("given: [{at: 5s}, {at: 3s}]", 4, "time goes back here", "order of their times"),
    ("given: [{at: 0s, plc1.starved: 1}]", 4, "plc1.starved is bool, and 1 is not true or false", "write its value"),
    ("given: [{at: 0s, plc1.state: 6.5}]", 4, "plc1.state is int32, and 6.5 is not a whole number", "write its value"),
    ("given: [{at: 0s, plc1.order: 1001}]", 4, "plc1.order is string, and 1001 is not text", "write its value"),
    ("given: [{at: 0s, plc1.state: {value: 6, quality: fine}}]", 4, "'fine' is no quality", "quality: uncertain"),
    ("given: [{at: 0s, plc1.state: {valve: 6}}]", 4, "'valve' says nothing about a sample", "quality: uncertain"),
    ("given: [{at: 0s, agent: dead}]", 4, "'dead' is not one of 'killed', 'stopped' or 'started'", "known here"),
    ("given: []", 4, "has too few items", "at least 1"),
    ("start: tomorrow\n    given: [{at: 0s}]", 4, "'tomorrow' is no instant", "2026-10-25 05:59:30"),
    ("unit: fillr\n    given: [{at: 0s}]", 4, "there is no unit 'fillr'", "did you mean 'filler'?"),
    ("given: [{at: 0s}]\n    expects: []", 5, "unknown key 'expects'", "did you mean 'expect'?"),
    ("given: [{at: 0s}]\n    expect: [{delta: 5}]", 5, "the key 'event' is missing", "add `event: ...`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message", "remedy"), MISTAKES, ids=[row[2] for row in MISTAKES])
def test_a_mistake_in_a_test_is_told_at_its_line(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, line: int, message: str, remedy: str
) -> None:
    """Nothing is run: the problem stands at its line, with a remedy, and there is no other."""
    with pytest.raises(InvalidConfigError) as caught:
        told(config, f"  - test: x\n    {text}\n", capsys)
    (problem,) = caught.value.problems
    assert (problem.line, message in problem.message, remedy in problem.remedy) == (line, True, True), problem


def test_history_lateness_and_restarts_can_be_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a device kept, what it stamps late, and an agent that stops in order are played like the rest."""
    text = """\
  - test: history closes the gap
    given:
      - {at: 0s, plc1.acc_count: 100}
      - {at: 5s, down: plc1}
      - {at: 20s, history: {plc1.acc_count: {8s: 104, 12s: 109}}}
      - {at: 25s}
    expect:
      - {event: production.count, at: 8s, delta: 4, derivation: historical}
      - {event: production.count, at: 12s, delta: 5}
  - test: late
    given:
      - {at: 0s, plc1.acc_count: 100}
      - {at: 20s, plc1.acc_count: 103}
      - {at: 21s, sampled: 10s, plc1.reject: 2}
    expect: [{event: production.count, counter: reject, at: 10s, late: true}]
  - test: stopped in order
    given:
      - {at: 0s, plc1.acc_count: 100}
      - {at: 5s, agent: stopped}
      - {at: 8s, plc1.acc_count: 109}
      - {at: 9s, agent: started}
    expect: [{event: state.snapshot, reason: final, at: 5s}, {event: production.count, delta: 9}]
"""
    assert told(config, text, capsys) == (0, "3 passed\n")


def test_the_command_finds_the_configuration_above_a_file(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edge-agent test config/tests/one.yaml` needs no --config; a wrong file is exit code 78, a missing test too."""
    file = config / "tests" / "one.yaml"
    file.parent.mkdir()
    file.write_text("version: 1\ntests: [{test: x, given: [{at: 0s}], none: [order.started]}]\n", encoding="utf-8")
    for arguments, code in (([str(file)], 0), ([str(file), "-v"], 0), (["-c", str(config)], 0), ([str(config / "gone.yaml")], 78)):
        monkeypatch.setattr("sys.argv", ["edge-agent", "test", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code, capsys.readouterr()
    file.unlink()
    monkeypatch.setattr("sys.argv", ["edge-agent", "test", "-c", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 78
    assert "there are no tests in" in capsys.readouterr().err


def test_an_mes_that_names_the_order_can_be_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A member of the context that comes from a topic is given as mes.order, and stands again after a restart of the agent."""
    unit = config / "units" / "filler.yaml"
    text = unit.read_text(encoding="utf-8")
    assert "  order: plc1.order\n" in text
    unit.write_text(text.replace("  order: plc1.order\n", "  order: {mqtt: acme/mes/order}\n"), encoding="utf-8")
    test = """\
  - test: an order of the MES
    given:
      - {at: 0s, plc1.mode: 1, plc1.acc_count: 100, mes.order: WO-6}
      - {at: 5s, mes.order: WO-7}
      - {at: 9s, plc1.acc_count: 104}
      - {at: 10s, agent: killed}
      - {at: 15s, agent: started}
      - {at: 16s, plc1.acc_count: 106}
    expect:
      - {event: order.completed, at: 5s, order: WO-6}
      - {event: order.started, at: 5s, order: WO-7}
      - {event: production.count, delta: 4, ctx.order: WO-7, ctx.recipe: null}
      - {event: production.count, delta: 2, ctx.order: WO-7}
    only: [order.started, order.completed]
"""
    assert told(config, test, capsys) == (0, "1 passed\n")
