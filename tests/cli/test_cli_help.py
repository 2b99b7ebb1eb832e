"""What a person meets first: help that comes at once, completion, progress, and each command as a process."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_agent import ROOT, Plc
from typer.main import get_command

from edge_agent.cli import app
from edge_agent.cli.progress import Progress

HEAVY = ("asyncua", "pymodbus", "paho", "pydantic", "apsw", "starlette", "uvicorn", "rich.live", "prometheus_client")
CPU = 0.4
"""Seconds of processor time that help may take."""


def run(*arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a process; a traceback is a failure."""
    command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False, **more)
    assert "Traceback" not in done.stdout + done.stderr, done
    return done


def verbs() -> list[tuple[str, ...]]:
    """Return every command and command of a group."""
    found: list[tuple[str, ...]] = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [(name,)] if inner is None else [(name, each) for each in inner]
    return found


def test_help_comes_at_once_and_imports_no_protocol() -> None:
    """The list of commands costs at most 0.4 s of processor time, best of three, and loads none of the heavy libraries."""
    script = f"import sys; sys.argv = ['edge-agent', '--help']\ntry:\n    from edge_agent.cli import main; main()\nfinally:\n    sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert (done.returncode, done.stderr) == (0, "")
    assert min(costs) <= CPU, costs
    for verb in ("init", "check", "read", "tail", "status", "watch", "doctor", "tags", "migrate", "schema", "explain"):
        assert re.search(rf"^  {verb}\b", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_command_explains_itself(verb) -> None:
    """Each command and each of its options has a sentence."""
    command = get_command(app)
    for name in verb:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert (command.help or "").strip()
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(verb)}: {parameter.name} has no help"


@pytest.mark.parametrize(
    ("line", "known"), [("edge-agent sta", "status"), ("edge-agent tags im", "import"), ("edge-agent status --br", "--brief")]
)
def test_the_shell_completes(line: str, known: str) -> None:
    """Commands, commands of groups and options, as bash asks for them."""
    environment = {**os.environ, "_EDGE_AGENT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    script = "import sys; sys.argv = ['edge-agent']\nfrom edge_agent.cli import app; app(prog_name='edge-agent')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert known in done.stdout.split(), done


def test_check_as_json_names_every_problem(tmp_path: Path) -> None:
    """File, line, column, message and remedy for programs; 0 and 1 as exit codes."""
    fine = run("check", "-c", ROOT / "config", "--json")
    assert (fine.returncode, json.loads(fine.stdout)["ok"]) == (0, True)
    (tmp_path / "agent.yaml").write_text("version: 1\nagent: gw1\n")
    done = run("check", "-c", tmp_path, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert {frozenset(problem) for problem in told["problems"]} == {frozenset(("file", "line", "column", "message", "remedy"))}
    assert len(told["problems"]) == 3


def test_a_printed_address_is_warned_of(tmp_path: Path) -> None:
    """40011 as an address can be right, and hardly ever is."""
    (tmp_path / "agent.yaml").write_text(
        'version: 1\nagent: gw1\nsite: [acme]\nmqtt: {broker: "mqtt://b", allow_insecure: true}\nbuffer: {path: ./b}\ndevices:\n'
        "  - {version: 1, device: d, driver: modbus, host: h, tags: {a: {register: holding, address: 40011}, b: {register: input, address: 40011}}}\n"
    )
    done = run("check", "-c", tmp_path)
    assert done.returncode == 0
    assert "d: a (40011): an address like a number of the vendor's table; write ref:" in done.stderr


def test_schema_prints_a_schema_for_each_file() -> None:
    """JSON Schema, as editors read it."""
    for what in ("agent", "device", "unit", "test"):
        assert json.loads(run("schema", what).stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_explain_tells_cause_check_and_remedy() -> None:
    """By code, as JSON, and with a hint for a misspelt one."""
    told = json.loads(run("explain", "cert_changed", "--json").stdout)
    assert told.keys() == {"code", "cause", "check", "remedy"}
    assert "  remedy  " in run("explain", "buffer.evicted").stdout
    done = run("explain", "cert_chnged")
    assert (done.returncode, done.stderr) == (1, "edge-agent: there is no fault code 'cert_chnged'; did you mean cert_changed?\n")


def test_read_follow_prints_changes_until_ctrl_c(tmp_path: Path) -> None:
    """Value after value of a real device; Ctrl-C is no failure."""
    plc = Plc()
    (tmp_path / "agent.yaml").write_text(
        'version: 1\nagent: gw1\nsite: [acme]\nmqtt: {broker: "mqtt://b", allow_insecure: true}\nbuffer: {path: ./b}\ndevices:\n'
        f"  - {{version: 1, device: plc1, driver: modbus, host: 127.0.0.1, port: {plc.port}, poll: 100ms, tags: {{count: {{register: holding, address: 0}}}}}}\n"
    )
    try:
        done = run("read", "plc1", "-c", tmp_path)
        assert done.returncode == 0
        command = ["env", "--default-signal=INT", sys.executable, "-m", "edge_agent", "read", "-f", "--json", "-c", str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            values = [json.loads(child.stdout.readline())["value"] for _ in range(3)]
            child.send_signal(2)
            _, err = child.communicate(timeout=60)
        assert values == sorted(set(values))
        assert (child.returncode, err) == (0, "")
    finally:
        plc.close()


class _Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("terminal", "shown"), [(True, "\r\x1b[K3 of 9\r\x1b[K5 of 9\r\x1b[K"), (False, "")])
def test_progress_is_shown_after_two_seconds_on_a_terminal_alone(monkeypatch, terminal, shown) -> None:
    """Silent for two seconds, then five times a second at most, wiped at the end; a log gets nothing of it."""
    stream = _Stream(terminal=terminal)
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("edge_agent.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress()
    for number, at in ((1, 0.5), (2, 1.9), (3, 2.1), (4, 2.2), (5, 2.4)):
        now[0] = at
        progress(f"{number} of 9")
    progress.done()
    assert stream.getvalue() == shown
