"""The AsyncAPI document of a configuration: every reference leads somewhere, every parameter is told, and bindings are those of MQTT."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from edge_agent.cli.schema import asyncapi, schema
from edge_agent.config.load import load
from edge_agent.publish.config import ValuesConfig

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def document():
    """The document of the demo line."""
    return json.loads(asyncapi(load(CONFIG)))


def _references(node):
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


def test_every_reference_leads_somewhere(document):
    """No $ref is left hanging."""
    for reference in set(_references(document)):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_channels_tell_their_parameters(document):
    """What stands in braces in an address is a parameter, and nothing else is one (AsyncAPI 3.0, Channel Object)."""
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["event"]["address"] == "edge/v1/acme/plant1/packaging/line3/{unit}/_event"
    for channel in document["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", {}))
        assert channel["messages"]


def test_operations_have_mqtt_bindings(document):
    """QoS, retain and expiry are told by mqtt bindings 0.2.0; events are never retained."""
    operations = document["operations"]
    for operation in operations.values():
        assert operation["action"] in {"send", "receive"}
        assert operation["bindings"]["mqtt"]["bindingVersion"] == "0.2.0"
    assert operations["send_event"]["bindings"]["mqtt"] == {"qos": 1, "bindingVersion": "0.2.0", "retain": False}
    assert operations["send_state"]["bindings"]["mqtt"]["messageExpiryInterval"] == 30
    server = document["servers"]["broker"]["bindings"]["mqtt"]
    assert server["lastWill"]["topic"] == "edge/v1/acme/plant1/_agent/gw-l3/status"


def test_the_schemas_of_the_events_are_in_it(document):
    """Every type's schema is a valid one, and `schema events` prints the same types."""
    for each in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(each)
    others = set(json.loads(schema("status"))["$defs"])
    assert set(json.loads(schema("events"))["$defs"]) | others == set(document["components"]["schemas"])


def test_mirrored_values_have_channels():
    """A unit's values stand at one address with device and tag as parameters, retained and expiring; nobody asked, none there."""
    config = load(CONFIG)
    mqtt = config.agent.mqtt.model_copy(update={"values": ValuesConfig()})
    told = json.loads(asyncapi(config.model_copy(update={"agent": config.agent.model_copy(update={"mqtt": mqtt})})))
    channel = told["channels"]["value"]
    assert channel["address"].endswith("/filler/_value/{device}/{tag}")
    assert set(channel["parameters"]) == {"device", "tag"}
    assert told["operations"]["send_value"]["bindings"]["mqtt"]["messageExpiryInterval"] == 300
    assert "value" not in json.loads(asyncapi(config))["channels"]
