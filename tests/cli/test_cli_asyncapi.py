"""The AsyncAPI document of a configuration: every reference leads somewhere, every parameter is told, and bindings are those of MQTT."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from pathlib import Path

import jsonschema
import pytest

from edge_agent.agent.envelope import checkpointed, streams_of, topics_of
from edge_agent.cli.schema import asyncapi, schema
from edge_agent.config.load import load
from edge_agent.model.equipment import EquipmentPath
from edge_agent.publish.address import broker_of
from edge_agent.publish.config import ValuesConfig

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def document():
    """The document of the demo line."""
    return json.loads(asyncapi(load(CONFIG)))


_OFFICIAL = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi" / "3.0.0.json.gz").read_bytes()))
"""AsyncAPI's own JSON Schema of version 3.0.0, with its bindings."""
_WAYS = {
    "as it is": {},
    "flat": {"format": "flat"},
    "one topic per type": {"topics": "per_type"},
    "UMH": {"profile": "umh", "root": "umh", "values": {}},
    "nothing is asked": {"commands": []},
    "two brokers by WebSocket": {"broker": ["wss://one.plant1/mqtt", "wss://two.plant1:8443/mqtt"], "tls": {"ca": "system"}},
}


def _configured(mqtt, **agent):
    """Return the demo's configuration with other settings of ``mqtt`` and of the agent."""
    config = load(CONFIG)
    given = config.agent.model_dump(mode="json", exclude_unset=True)
    given["mqtt"] |= mqtt
    for name, value in agent.items():
        given[name] = {**given.get(name, {}), **value}
    return config.model_copy(update={"agent": type(config.agent).model_validate(given)})


@pytest.mark.parametrize("way", _WAYS)
def test_the_official_schema_has_nothing_against_it(way):
    """AsyncAPI's JSON Schema of 3.0.0, bindings included, finds no fault in the document of any kind of configuration."""
    config = _configured(_WAYS[way], buffer={"confirm": True})
    told = json.loads(asyncapi(config))
    assert [(list(error.absolute_path), error.message) for error in jsonschema.Draft7Validator(_OFFICIAL).iter_errors(told)] == []


def test_the_official_schema_is_asked():
    """A binding that MQTT does not have and a reference that is none are found: the schema above does judge."""
    judge = jsonschema.Draft7Validator(_OFFICIAL)
    for place, value in (
        (("operations", "send_event", "bindings", "mqtt", "qos"), 3),
        (("channels", "event", "messages", "event"), 7),
    ):
        told = json.loads(asyncapi(load(CONFIG)))
        node = told
        for part in place[:-1]:
            node = node[part]
        node[place[-1]] = value
        assert not judge.is_valid(told)


def _addresses(told, action):
    """Return every topic that a document names, its parameters filled in."""
    for operation in told["operations"].values():
        channel = told["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        names = list(channel.get("parameters", {}))
        for values in itertools.product(*(channel["parameters"][name]["enum"] for name in names)):
            if operation["action"] == action:
                yield channel["address"].format(**dict(zip(names, values, strict=True)))


def test_every_stream_of_the_agent_is_in_it():
    """Whatever the agent publishes or hears has its topic in the document, also its own events and its own checkpoint, and nothing else has."""
    config = _configured({}, buffer={"confirm": True})
    topics = topics_of(config)
    paths = [EquipmentPath((*(unit.path or config.agent.site), unit.unit)) for unit in config.units]
    events = {
        f"{info.topic}/_{'telemetry' if name.endswith('/telemetry') else 'event'}" for name, info in streams_of(config).items()
    }
    sent = events | {topics.state(path) for path in paths} | {topics.meta(path) for path in paths}
    sent |= {topics.status, *(topics.checkpoint(name) for name in checkpointed(config))}
    told = json.loads(asyncapi(config))
    assert set(_addresses(told, "send")) == sent
    heard = {topics.command(name) for name in config.agent.mqtt.commands} | {topics.confirmed(name) for name in streams_of(config)}
    assert set(_addresses(told, "receive")) == heard


def test_what_the_mes_says_is_in_it():
    """A unit whose order the MES names listens to its topic."""
    config = load(CONFIG)
    given = config.units[0].model_dump(mode="json", exclude_unset=True)
    given["context"] = {"order": {"mqtt": "mes/plant1/filler/order"}}
    unit = type(config.units[0]).model_validate(given)
    told = json.loads(asyncapi(config.model_copy(update={"units": (unit, *config.units[1:])})))
    assert told["operations"]["receive_context"]["action"] == "receive"
    assert told["channels"]["context"]["address"] == "mes/plant1/filler/order"
    assert jsonschema.Draft7Validator(_OFFICIAL).is_valid(told)


def test_a_broker_by_websocket_has_a_path():
    """Who speaks plain MQTT to such a port would not be understood."""
    told = json.loads(asyncapi(_configured({"broker": "wss://one.plant1/mqtt", "tls": {"ca": "system"}})))
    assert told["servers"]["broker"] == told["servers"]["broker"] | {
        "protocol": "wss",
        "pathname": "/mqtt",
        "host": broker_of("wss://one.plant1").where,
    }


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
