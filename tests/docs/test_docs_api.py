"""The page of the API names everything that the API says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.agent.departures import Departure
from edge_agent.status import pagereport, report

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
SAID = (
    report.Status, report.DeviceReport, report.LinkReport, report.WorkerReport, report.DeliveryReport, report.BufferReport, report.StreamReport, report.FaultReport,
    pagereport.TagsHead, pagereport.TagCounts, pagereport.TagReport, pagereport.CodeReport, pagereport.HistoryReport, pagereport.Moment, Departure,
)  # fmt: skip


@pytest.mark.parametrize("shape", SAID, ids=lambda shape: shape.__name__)
def test_every_field_of_an_answer_is_documented(shape: type) -> None:
    """A field is named in code."""
    named = set(re.findall(r"`([a-z0-9_]+)`", PAGE))
    assert set(shape.__struct_fields__) - named == set()  # type: ignore[attr-defined]


def test_every_wish_is_documented() -> None:
    """What a query may hold is on the page."""
    assert {word for word in pagereport.TagsWish.__struct_fields__ if f"?{word}=" not in PAGE} == set()
