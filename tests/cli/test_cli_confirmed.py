"""What people see of the consumer's marks."""

from __future__ import annotations

from edge_agent.cli.words import buffer_lines
from edge_agent.status.report import BufferReport, StreamReport


def lines(*confirmed: int | None) -> list[str]:
    """Return the table of `buffer status` for streams with these marks."""
    streams = [StreamReport(f"unit{n}", "E1", 1, 20, 15, 5, None, mark) for n, mark in enumerate(confirmed)]
    return list(buffer_lines(BufferReport("/var/b", "E1", True, "", 5, 0, None, 100, 0, streams)))[-len(streams) - 1 :]


def test_the_column_is_there_when_a_consumer_confirms():
    """Each stream's mark beside what was delivered; a stream without one has a dash."""
    head, one, two = lines(12, None)
    assert head.split() == ["stream", "kept", "delivered", "confirmed", "waiting", "oldest"]
    assert one.split() == ["unit0", "1-20", "15", "12", "5", "-"]
    assert two.split() == ["unit1", "1-20", "15", "-", "5", "-"]


def test_without_a_confirming_consumer_the_table_is_as_before():
    """Nobody is told of a mode that is off."""
    assert lines(None, None)[0].split() == ["stream", "kept", "delivered", "waiting", "oldest"]
