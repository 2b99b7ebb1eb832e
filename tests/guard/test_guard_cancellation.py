"""What is cancelled ends."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "edge_agent"


def test_nobody_waits_by_wait_for():
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with the result (gh-86296): `asyncio.timeout` does not."""
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    assert [str(file) for file in files if ".wait_for(" in file.read_text(encoding="utf-8")] == []
