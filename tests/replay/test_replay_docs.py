"""The pages about mapping tests and golden traces show what works."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path += [str(Path(__file__).parents[1] / "golden")]

import golden_story

from edge_agent.cli import app
from edge_agent.cli.mapping import test as run_tests
from edge_agent.replay.derive import derive
from edge_agent.replay.line import line_in
from edge_agent.replay.recording import Recording

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "test-a-mapping.md").read_text(encoding="utf-8")
GOLDEN = (ROOT / "docs" / "develop" / "golden-traces.md").read_text(encoding="utf-8")


def test_the_example_of_the_page_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the page shows as a file of tests is one for the demo line."""
    (text,) = re.findall(r"```yaml\n# tests/filler.yaml\n(.*?)```", PAGE, re.DOTALL)
    config = shutil.copytree(ROOT / "config", tmp_path / "config")
    (config / "tests" / "filler.yaml").write_text(text, encoding="utf-8")
    assert run_tests([], config, watch=False, verbose=False) == 0
    assert capsys.readouterr().out == "1 passed\n"


def test_the_options_of_the_page_exist() -> None:
    """Every option that stands behind a command of the page is one of that command."""
    for verb in ("test", "record", "simulate"):
        shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
        for line in re.findall(rf"^edge-agent {verb} (.*?)(?: #.*)?$", PAGE, re.MULTILINE):
            for option in re.findall(r"(?<!\S)(--[a-z-]+|-[a-z])\b", line):
                assert option in shown, (verb, option)


def test_the_story_of_the_page_is_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of a golden trace tells a recording, the events of which are the same with restarts."""
    (code,) = re.findall(r"```python\n(.*?)```", GOLDEN, re.DOTALL)
    monkeypatch.setattr(golden_story, "ALL", {})
    exec(compile(code, "golden-traces.md", "exec"), {})
    (trace,) = golden_story.ALL.values()
    file = tmp_path / "x.jsonl"
    file.write_bytes(trace.recording())
    line = line_in(Recording(file).header.line)
    events = list(derive(line, Recording(file)))
    assert sum(b"cycle.completed" in event for event in events) == 2
    assert list(derive(line, Recording(file), restarts=True)) == events
