"""The commands as a user types them: what they print, and what they say when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from consumer_bench import line, play
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.consumer.database import open_database
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of the line's books."""
    url = f"sqlite:///{tmp_path_factory.mktemp('cli')}/books.db"
    database = open_database(url)
    migrate(database)
    store = Store(database)
    store.begin()
    play(store, line())
    database.close()
    return url


def run(*arguments: str) -> tuple[int, str]:
    """Run a command and return its exit code and what it printed."""
    done = CliRunner().invoke(app, ["books", *arguments])
    return done.exit_code, done.output + (str(done.exception) if done.exception else "")


def test_complete_says_up_to_when_and_its_exit_code_too(address: str) -> None:
    """0 when everything up to the time is here, 1 when not yet."""
    code, said = run("complete", "--database", address, "--to", "2026-10-25T05:08:00Z")
    assert (code, said.count("complete  /acme")) == (0, 2)
    code, said = run("complete", "--database", address, "--to", "2026-10-25T09:00:00Z", "--json")
    assert code == 1
    assert [one["complete"] for one in json.loads(said[: said.rindex("]") + 1])] == [False, False]


def test_oee_prints_the_factors(address: str) -> None:
    """The figures of the line's order, for people and as JSON."""
    code, said = run("oee", "--database", address, "--order", "WO-1001", "--ideal", "0.48")
    assert code == 0
    assert "oee           0.71351" in said
    code, said = run("oee", "--database", address, "--order", "WO-1001", "--ideal", "0.48", "--json")
    assert json.loads(said)["oee"] == pytest.approx(0.71351, abs=5e-6)


def test_report_writes_one_file(address: str, tmp_path: Path) -> None:
    """The shift's page is where the user wants it."""
    file = tmp_path / "m.html"
    code, said = run("report", "--database", address, "--shift", "M", "--date", "2026-10-25", "--ideal", "0.48", "-o", str(file))
    assert (code, "Shift M, 2026-10-25" in said) == (0, True)
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["oee"], "name an --order, a --shift, or a time"),
        (["oee", "--order", "WO-9"], "nothing is known of the start of order WO-9"),
        (["oee", "--from", "yesterday", "--to", "now"], "no time with a zone"),
        (["oee", "--unit", "press", "--order", "WO-1001"], "no one unit is called press"),
    ],
)
def test_what_cannot_be_computed_is_said_in_words(address: str, arguments: list[str], words: str) -> None:
    """A mistake is a message, with what there is instead."""
    code, said = run(arguments[0], "--database", address, *arguments[1:])
    assert (code, words in said) == (1, True), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["books", "complete", "--database", "sqlite:////nowhere/b.db"], "there is no such file"),
        (["consume", "--database", "postgresql://a:b@c/d", "--broker", "mqtt://127.0.0.1:1", "--allow-insecure"], "list of processes"),
        (["consume", "--database", "sqlite:///x.db", "--broker", "mqtt://127.0.0.1:1"], "--broker: plain mqtt://"),
        (["consume", "--database", "sqlite:///x.db", "--broker", "mqtts://u:p@127.0.0.1:1"], "--mqtt-password-file"),
        (["consume", "--database", "sqlite:///x.db", "--broker", "mqtt://127.0.0.1:1", "--allow-insecure", "--rest", "http://mes/e", "--rest-token-file", "/nowhere"], "/nowhere"),
    ],
)  # fmt: skip
def test_a_wrong_setting_ends_at_once_with_its_remedy(arguments: list[str], words: str, tmp_path: Path) -> None:
    """No traceback, nothing made, and never an exit code of 0."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode in {1, 78}
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
