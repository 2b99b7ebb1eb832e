"""The schemas in the wheel: every type of the catalogue has one, what the demo line sent validates, and members are only ever added."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from edge_agent.events.schemas import COMMON, bundle, schemas

ROOT = Path(__file__).parents[2]
EARLIER = sorted((Path(__file__).parent / "schemas").glob("*.json"))
_TYPE = re.compile(
    r"\"((?:agent|device|collection|clock|config|state|mode|downtime|speed|shift|production|counter|cycle|unit|scrap|order|setup|material|recipe|setpoint|quality|alarm|energy|process|tool|operator|signal)\.[a-z_]+)\""
)
_NO_TYPES = {"unit.not_stored", "unit.quarantined", "device.tag"}


def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return what judges ``data`` of one type."""
    registry = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in schemas().values())
    return jsonschema.Draft202012Validator(schemas()[name], registry=registry)


def _emitted() -> set[str]:
    """Return the type names that stand in the sources of the rules."""
    files = [*(ROOT / "edge_agent/events").glob("*.py"), ROOT / "edge_agent/agent/journal.py"]
    return {name for file in files for name in _TYPE.findall(file.read_text())} - _NO_TYPES


def test_every_type_has_a_schema():
    """A rule that makes a type without a schema is named here; the schema is one small file."""
    assert sorted(_emitted() - schemas().keys()) == []


@pytest.mark.parametrize("name", schemas())
def test_a_schema_is_one(name):
    """Each is valid JSON Schema 2020-12, carries its name and version, and stays open."""
    schema = schemas()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert re.fullmatch(rf"urn:edge-agent:schema:{re.escape(name)}:1\.\d+", schema["$id"])
    assert schema.get("additionalProperties", True) is True


def test_what_the_line_sent_validates():
    """Every event of a recorded demo line fits the schema of its type."""
    judged: set[str] = set()
    with gzip.open(ROOT / "tests/consumer/line.jsonl.gz", "rt") as file:
        for line in file:
            topic, _, payload = json.loads(line)
            if topic.endswith("/_event"):
                event = json.loads(payload)
                name = event["type"].removeprefix("edgeagent.").removesuffix(".v1")
                validator(name).validate(event["data"])
                judged.add(name)
    assert len(judged) > 10


def test_a_wrong_event_does_not_validate():
    """A count without its delta, and one whose total is a truth value, are refused."""
    good = {"epoch": "e", "seq": 1, "counter": "total", "disposition": "total", "delta": 1, "total": 1, "uom": "H87"}
    validator("production.count").validate(good)
    for bad in ({**good, "total": True}, {key: value for key, value in good.items() if key != "delta"}):
        with pytest.raises(jsonschema.ValidationError):
            validator("production.count").validate(bad)


@pytest.mark.parametrize("fixture", EARLIER, ids=lambda path: path.stem)
def test_what_an_earlier_minor_allowed_still_validates(fixture):
    """Events of every released minor validate against the newest schema of their major."""
    for event in json.loads(fixture.read_text()):
        validator(event["name"]).validate(event["data"])


def test_there_are_fixtures_of_earlier_minors():
    """The stored events of 1.0 are there to be judged."""
    assert [path.stem for path in EARLIER] == ["v1.0"]


def test_the_bundle_holds_everything():
    """One document has all of them, the common members included."""
    assert set(bundle()["$defs"]) == set(schemas())
    assert COMMON in schemas()
