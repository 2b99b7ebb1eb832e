"""The dashboard and the alert rules speak of metrics that exist, and every alert leads to a page that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from edge_agent.model.fault import faults
from edge_agent.status.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2] / "monitoring"
DASHBOARD = json.loads((ROOT / "grafana" / "edge-agent.json").read_text(encoding="utf-8"))
_NAME = re.compile(r"\b(?:edge_agent|process)_[a-z_]+")
_SELECTED = re.compile(r"\b((?:edge_agent|process)_[a-z_]+)\{([^}]*)\}")
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_SCRAPES = {"instance", "job", "le"}
"""Labels that Prometheus itself adds."""


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return YAML(typ="safe").load(ROOT / "prometheus" / "edge-agent.rules.yml")["groups"][0]["rules"]


def series() -> set[str]:
    """Return the names that a scrape may bring."""
    return {
        f"{name}{end}"
        for name, shape in FAMILIES.items()
        for end in (("_bucket", "_sum", "_count") if shape.kind == "histogram" else ("",))
    }


def targets(panels: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield panel, expression and legend."""
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


EXPRESSIONS = [(rule["alert"], rule["expr"], "") for rule in rules()] + [*targets(DASHBOARD["panels"])]


@pytest.mark.parametrize(("where", "expression", "legend"), EXPRESSIONS, ids=[where for where, _, _ in EXPRESSIONS])
def test_only_metrics_and_labels_that_exist_are_asked_for(where, expression, legend):
    """A renamed metric would leave a graph empty and an alert silent for ever."""
    names = set(_NAME.findall(re.sub(r"\{[^}]*\}", "{}", expression)))
    assert names - series() == set(), where
    labels = {
        label
        for name in names
        for label in FAMILIES.get(re.sub("_(bucket|sum|count)$", "", name), FAMILIES["edge_agent_health"]).labels
    }
    used = {label.strip() for group in _BY.findall(expression) for label in group.split(",")}
    used |= set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
    assert used <= labels | _OF_SCRAPES, where


def test_the_dashboard_shows_every_metric_or_says_why_not():
    """What nobody looks at is a mistake in one of the two."""
    shown = {name for _, expression, _ in EXPRESSIONS for name in _NAME.findall(expression)}
    bases = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    hidden = {
        "edge_agent_device_last_good_timestamp_seconds",  # device_up says it sooner
        "edge_agent_device_batches_total",  # for those who tune a driver
        "edge_agent_device_polls_discarded_total",  # shows as gaps
        "edge_agent_broker_connects_total",  # shows as broker_up
        "edge_agent_buffer_commits_total",  # shows as syncs
        "process_open_fds", "process_start_time_seconds",  # by their usual dashboards
    }  # fmt: skip
    assert set(FAMILIES) - bases == hidden


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_page_that_says_what_to_do(rule):
    """Its runbook is an entry of the fault codes; a label that names the code is filled in by Prometheus."""
    page, _, code = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/reference/faults.md"
    assert (ROOT.parent / page).exists()
    assert code in faults() or code == "{{ $labels.code }}"
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


def test_every_alert_is_documented_and_has_a_unit_test():
    """The table of the how-to and the tests of promtool name the same alerts, with their severity."""
    text = (ROOT.parent / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(EdgeAgent\w+)` \| .* \| (\w+) \|$", text, re.MULTILINE))
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    tests = YAML(typ="safe").load(ROOT / "prometheus" / "edge-agent.test.yml")["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    quiet = {each["alertname"] for each in tests[0]["alert_rule_test"]}
    assert fired == quiet == set(told)


def test_panels_do_not_overlap_and_have_their_own_numbers():
    """Grafana would move them about, or show one twice."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
