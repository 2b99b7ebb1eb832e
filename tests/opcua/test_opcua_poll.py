"""What a poll tells of what it read: news, by the tag's deadband where it has one."""

from __future__ import annotations

from math import nan

import pytest

from edge_agent.drivers.opcua.poll import differs

GOOD, BAD, FLOAT, ARRAY = 0, 0x8000_0000, 11, 11 | 0x80


@pytest.mark.parametrize(
    ("told", "now", "band", "news"),
    [
        pytest.param(None, (FLOAT, 1.0, GOOD, 0), 5.0, True, id="the first one"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, 1.0, GOOD, 1), None, True, id="written again"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, 1.0, GOOD, 1), 5.0, False, id="written again within a deadband"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, 6.0, GOOD, 1), 5.0, False, id="just at it"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, -4.1, GOOD, 1), 5.0, True, id="beyond it downwards"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, 1.0, BAD, 0), 5.0, True, id="another status"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (6, 1, GOOD, 0), 5.0, True, id="another type"),
        pytest.param((FLOAT, 1.0, GOOD, 0), (FLOAT, nan, GOOD, 0), 5.0, True, id="no number any more"),
        pytest.param((FLOAT, nan, GOOD, 0), (FLOAT, float("nan"), GOOD, 0), 5.0, False, id="still no number"),
        pytest.param((FLOAT, nan, GOOD, 0), (FLOAT, 1.0, GOOD, 0), 5.0, True, id="a number again"),
        pytest.param((1, False, GOOD, 0), (1, True, GOOD, 0), 5.0, True, id="a switch has no deadband"),
        pytest.param((ARRAY, (1.0, 2.0), GOOD, 0), (ARRAY, (1.0, 7.0), GOOD, 0), 5.0, False, id="an array within"),
        pytest.param((ARRAY, (1.0, 2.0), GOOD, 0), (ARRAY, (1.0, 7.5), GOOD, 0), 5.0, True, id="one of an array beyond"),
        pytest.param((ARRAY, (1.0, 2.0), GOOD, 0), (ARRAY, (1.0,), GOOD, 0), 5.0, True, id="a shorter array"),
        pytest.param((FLOAT, None, BAD, 0), (FLOAT, 1.0, BAD, 0), 5.0, True, id="a value at last"),
    ],
)
def test_news(told: tuple[object, ...] | None, now: tuple[object, ...], band: float | None, news: bool) -> None:
    """A sample is told when it differs, and with a deadband only when it moved beyond that since it was last told."""
    assert differs(told, now, band) is news
