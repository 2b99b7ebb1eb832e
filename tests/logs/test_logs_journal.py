"""Log lines: names are codes, journald gets fields, JSON is one object per line."""

from __future__ import annotations

import ast
import json
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from edge_agent import journal, logs

PACKAGE = Path(__file__).resolve().parents[2] / "edge_agent"
_METHODS = {"debug", "info", "warning", "error", "critical"}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as it was found."""
    root = __import__("logging").getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Yield every call of a structlog logger in the package: where, and its first argument."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS and node.args:
                owner = ast.unparse(node.func.value)
                if owner.endswith("_log") or owner in {"log", "structlog.get_logger()"}:
                    yield f"{file.name}:{node.lineno}", node.args[0]


def test_the_name_of_every_log_line_is_a_code():
    """A constant of words with a dot: what it is about is in its values, so that lines can be counted, found and explained."""
    found = [(where, ast.literal_eval(name) if isinstance(name, ast.Constant) else ast.unparse(name)) for where, name in calls()]
    assert len(found) > 80
    assert [each for each in found if not re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", each[1])] == []


def test_journald_gets_the_name_and_every_value_as_a_field(tmp_path, monkeypatch):
    """A line break in a value cannot forge a field; the words are there as well."""
    place = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(place)
        receiver.settimeout(5)
        made = journal.Journal(place)
        monkeypatch.setattr(logs, "Journal", lambda: made)
        logs.configure("info", "journald")
        structlog.get_logger().warning("link.down", link="plc1", reason="gone\nPRIORITY=0", tries=3)
        told = receiver.recv(65_536)
        made.close()
    assert b"EDGE_AGENT_EVENT=link.down\n" in told
    assert b"PRIORITY=4\n" in told
    assert b"LINK=plc1\n" in told
    assert b"TRIES=3\n" in told
    assert b"REASON\n" + struct.pack("<Q", 15) + b"gone\nPRIORITY=0\n" in told
    assert b'link.down link=plc1 reason="gone\\nPRIORITY=0" tries=3' in told


def test_without_journald_lines_go_to_stderr_with_their_priority(tmp_path, capsys):
    """Nothing is lost where the socket is not there."""
    made = journal.Journal(str(tmp_path / "none"))
    made.msg("link.up link=plc1", priority=6, name="link.up", values={})
    made.close()
    assert capsys.readouterr().err == "<6>link.up link=plc1\n"


def test_json_is_one_object_per_line(capsys):
    """For log shippers: name, level, time and values as members."""
    logs.configure("info", "json")
    structlog.get_logger().error("buffer.evicted", stream="filler", records=7)
    told = json.loads(capsys.readouterr().err)
    assert told.pop("timestamp").endswith("Z")
    assert told == {"event": "buffer.evicted", "level": "error", "stream": "filler", "records": 7}


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_shows_no_local_variable(capsys, style):
    """An exception is logged with its text and its lines, and without the values of the variables on its way: a password may be one."""
    logs.configure("info", style)

    def connect(secret: str) -> None:
        if secret:
            raise ValueError("refused")

    try:
        connect("canary" + "-in-a-variable")
    except ValueError:
        structlog.get_logger().exception("it.failed", thing=1)
    said = capsys.readouterr().err
    assert "refused" in said
    assert "in connect" in said
    assert "canary-in" not in said
