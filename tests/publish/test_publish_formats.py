"""Other forms of the same events: flat JSON, and the topics of the United Manufacturing Hub."""

from __future__ import annotations

import json

import pytest
from publish_setting import STREAMS

from edge_agent.publish.cloudevents import Encoder
from edge_agent.publish.config import MqttConfig

_BASE = {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}


def _encoders(**changes):
    common = {"prefix": "edgeagent", "schema": "urn:x:{name}:{version}", "per_type": False}
    return Encoder(STREAMS, **common), Encoder(STREAMS, **common, **changes)


@pytest.mark.parametrize("body", [b'{"delta":1,"counter":"total"}', b"{}"])
def test_flat_has_the_same_identity(record, body):
    """A flat event is the members of data with id, time, seq, type and epoch beside them, and all of these are the envelope's."""
    full, flat = (each.encode(record(7, body=body)) for each in _encoders(flat=True))
    event, plain = json.loads(full.payload), json.loads(flat.payload)
    assert plain == {
        **event["data"],
        **{name: event[name] for name in ("id", "time", "type", "recordedtime")},
    }
    assert (plain["seq"], flat.topic, flat.user) == (int(event["sequence"]), full.topic, full.user)


def test_a_resent_flat_event_has_the_same_bytes(record):
    """A repeat differs by its user property alone."""
    _, encoder = _encoders(flat=True)
    first, again = encoder.encode(record(7)), encoder.encode(record(7, resent=True))
    assert first.payload == again.payload
    assert ("resend", "1") in again.user


def test_umh_topics(record):
    """The profile umh changes root and event level, and nothing of the event."""
    config = MqttConfig.model_validate({**_BASE, "profile": "umh"})
    assert (config.root, config.event_level) == ("umh", "_production_v1")
    full, other = (each.encode(record(7)) for each in _encoders(event=config.event_level))
    assert other.topic == full.topic.replace("_event", "_production_v1")
    assert other.payload == full.payload


def test_umh_with_a_root_of_its_own():
    """A root that the user wrote is kept."""
    assert MqttConfig.model_validate({**_BASE, "profile": "umh", "root": "umh-test"}).root == "umh-test"


def test_dataschema_names_the_minor_of_the_schema(record):
    """The schema's own version where it is of the type's major; the first minor of the major where it is not, or where none is known."""
    minor = Encoder(STREAMS, prefix="edgeagent", schema="s:{name}:{version}", per_type=False, versions={"production.count": "1.7"})
    assert b'"dataschema":"s:production.count:1.7"' in minor.encode(record(7)).payload
    other = Encoder(STREAMS, prefix="edgeagent", schema="s:{name}:{version}", per_type=False, versions={"production.count": "2.0"})
    assert b'"dataschema":"s:production.count:1.0"' in other.encode(record(7)).payload
