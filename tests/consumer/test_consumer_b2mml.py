"""Events as B2MML OperationsEvents: the elements of the schema's type, in its order, with its words."""

from __future__ import annotations

import gzip
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from edge_agent.consumer.b2mml import NAMESPACE, operations_event

_LINE = Path(__file__).parent / "line.jsonl.gz"
_ORDER = [
    "ID", "Description", "HierarchyScope", "EffectiveTimeStamp", "RecordTimeStamp", "Priority", "OperationsEventType", "OperationsEventLevel",
    "OperationsType", "MOMFunction", "EnterpriseFunction", "Category", "Acknowledgement", "Source", "OperationsDefinitionID", "OperationsEvent",
    "OperationsEventRecord",
]  # fmt: skip
"""The sequence of OperationsEventType."""
_ONCE = {"ID", "HierarchyScope", "EffectiveTimeStamp", "RecordTimeStamp", "OperationsEventType", "OperationsType"}


def _events():
    with gzip.open(_LINE, "rt") as file:
        found = (json.loads(line) for line in file)
        return [json.loads(payload) for topic, _, payload in found if topic.endswith("/_event")]


def test_every_event_of_a_line_has_the_structure():
    """Of every event of a demo line: known elements only, in the order of the schema, once where it says so, words of its enumerations."""
    for event in _events():
        root = ET.fromstring(operations_event(event))
        assert root.tag == f"{{{NAMESPACE}}}OperationsEvent"
        names = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in root]
        assert [_ORDER.index(name) for name in names] == sorted(_ORDER.index(name) for name in names)
        assert all(names.count(name) == 1 for name in _ONCE)
        values = {name: child.text for name, child in zip(names, root, strict=True)}
        assert values["OperationsEventType"] in {"Event", "Alert", "Alarm"}
        assert values["OperationsType"] in {"Production", "Maintenance", "Quality", "Inventory", "Mixed"}
        assert (values["ID"], values["EffectiveTimeStamp"], values["Source"]) == (event["id"], event["time"], event["source"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alarm.raised", ("Alarm", "Production")),
        ("quality.result", ("Event", "Quality")),
        ("collection.gap", ("Alert", "Production")),
    ],
)
def test_types_are_mapped(name, expected):
    """Alarms are alarms, losses are alerts, results are quality."""
    event = next(each for each in _events() if each["type"] == f"edgeagent.{name}.v1")
    root = ET.fromstring(operations_event(event))
    found = tuple(root.findtext(f"{{{NAMESPACE}}}{each}") for each in ("OperationsEventType", "OperationsType"))
    assert found == expected


def test_data_survive():
    """The second Description is what happened, as JSON."""
    event = next(each for each in _events() if each["type"] == "edgeagent.production.count.v1")
    root = ET.fromstring(operations_event(event))
    told = json.loads(root.findall(f"{{{NAMESPACE}}}Description")[1].text)
    assert (told["counter"], told["delta"], told["total"]) == tuple(event["data"][each] for each in ("counter", "delta", "total"))
    assert "epoch" not in told
