"""The page of metrics: its names, its labels, and that Prometheus' own reader understands it."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from test_status_api import FakeDesk

from edge_agent.model.histogram import Histogram
from edge_agent.status.app import application
from edge_agent.status.client import RemoteDesk
from edge_agent.status.exposition import exposed
from edge_agent.status.families import FAMILIES, Family, Sample
from edge_agent.status.server import serving


def some() -> list[Family]:
    """Return every family, with hostile labels and a filled histogram."""
    durations = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.5, 0.6, 9.0):
        durations.observe(seconds)
    hostile = 'a"b\\c\nd'
    return [
        Family(name, shape, [Sample((hostile,) * len(shape.labels), durations if shape.kind == "histogram" else 3)])
        for name, shape in FAMILIES.items()
    ]


@pytest.mark.parametrize(
    ("accept", "reader", "media_type"),
    [
        ("", plain, "text/plain"),
        ("application/openmetrics-text; version=1.0.0", open_metrics, "application/openmetrics-text"),
    ],
)
def test_every_family_is_read_back(accept, reader, media_type):
    """Both formats, with label values that want escaping; classes are cumulative, as Prometheus counts them."""
    page, told = exposed(some(), accept)
    assert told.startswith(media_type)
    found = {family.name: family for family in reader(page.decode())}
    assert {name.removesuffix("_total") for name in FAMILIES} == set(found)
    assert found["edge_agent_device_gaps"].samples[0].labels == {"device": 'a"b\\c\nd', "reason": 'a"b\\c\nd'}
    classes = [(one.labels.get("le"), one.value) for one in found["edge_agent_acknowledge_duration_seconds"].samples]
    assert classes[:3] == [("0.1", 1.0), ("1.0", 3.0), ("+Inf", 4.0)]


def test_names_follow_the_rules():
    """Base units, `_total` on counters only, closed lists as labels: never what is collected, whose number nobody knows."""
    for name, shape in FAMILIES.items():
        assert re.fullmatch(r"(edge_agent|process)(_[a-z]+)+", name)
        assert name.endswith("_total") == (shape.kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|days|kb|percent)(_|$)", name), name
        assert shape.help.endswith("."), name
        assert set(shape.labels) <= {
            "agent", "version", "cfg", "code", "level", "certificate", "device", "driver", "reason", "unit", "type", "output", "kind",
        }, name  # fmt: skip


async def test_the_page_is_served_only_where_somebody_gathers(tmp_path):
    """GET /metrics answers what was gathered; without it there is no such page."""

    async def gathered():
        return some()

    for metrics in (gathered, None):
        desk = FakeDesk()
        path = tmp_path / f"{metrics is None}.sock"
        async with serving(application(desk.status, desk, verbs=True, metrics=metrics), path):
            if metrics is None:
                with pytest.raises(Exception, match="Not Found"):
                    await asyncio.to_thread(RemoteDesk(path).metrics)
            else:
                page = await asyncio.to_thread(RemoteDesk(path).metrics)
                assert page == exposed(some())[0].decode()
