"""The mqtt block: what users write, and what they read when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from edge_agent.publish.config import MqttConfig

SECURE = {"broker": "mqtts://broker.plant1", "tls": {"ca": "/etc/edge-agent/ca.pem"}}
PLAIN = {"broker": "mqtt://broker.plant1", "allow_insecure": True}


def test_the_shipped_block_is_accepted():
    """The demo line's own mqtt block validates once its variables have their defaults."""
    text = (Path(__file__).parents[2] / "config" / "agent.yaml").read_text(encoding="utf-8")
    block = YAML(typ="safe").load(text.replace("${MQTT_HOST:-127.0.0.1}:${MQTT_PORT:-1883}", "127.0.0.1:1883"))["mqtt"]
    config = MqttConfig.model_validate(block)
    assert (config.brokers[0].host, config.brokers[0].port, config.root, config.window) == ("127.0.0.1", 1883, "edge", 20)


def test_defaults_are_those_of_the_contract():
    """Window 20, 15 s keep-alive and acknowledgement, 5 s to connect, MQTT 5 first, one topic per stream, commands on."""
    config = MqttConfig.model_validate(SECURE)
    assert (config.window, config.keepalive, config.ack_timeout, config.connect_timeout) == (20, 15 * 10**9, 15 * 10**9, 5 * 10**9)
    assert (config.protocol, config.topics, config.profile, config.root) == ("auto", "per_stream", "cloudevents", "edge")
    assert config.commands == ("resend", "rebirth", "snapshot")
    assert config.brokers[0].where == "broker.plant1:8883"


@pytest.mark.parametrize(
    ("broker", "host", "port"),
    [("mqtt://h", "h", 1883), ("mqtt://h:1", "h", 1), ("mqtt://[::1]:65535", "::1", 65535), ("mqtt://10.0.0.5/", "10.0.0.5", 1883)],
)
def test_addresses_are_taken_apart(broker, host, port):
    """Names, IPv4, IPv6 and default ports."""
    config = MqttConfig.model_validate({**PLAIN, "broker": broker})
    assert (config.brokers[0].host, config.brokers[0].port) == (host, port)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"broker": "broker.plant1:1883"}, "write mqtts://host:8883"),
        ({"broker": "http://h"}, "write mqtts://host:8883"),
        ({"broker": "mqtt://"}, "needs a host and a port"),
        ({"broker": "mqtt://h:0"}, "port from 1 to 65535"),
        ({"broker": "mqtt://h:99999"}, "port from 1 to 65535"),
        ({"broker": "mqtt://user:secret@h"}, "use username and password_file"),
        ({"broker": "mqtt://h/path"}, "more than host and port"),
        ({"allow_insecure": False}, "allow_insecure: true"),
        ({"tls": {"ca": "system"}}, "write mqtts://"),
        ({"broker": "mqtts://h"}, "tls: {ca: FILE}"),
        ({"password_file": "/run/p"}, "add username"),
        ({"root": "edge/#"}, "wildcards"),
        ({"root": "$share/x"}, "leading"),
        ({"root": "a//b"}, "empty level"),
        ({"root": ""}, "empty level"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"window": "20"}, "valid integer"),
        ({"ack_timeout": "5"}, "with its unit"),
        ({"ack_timeout": "20ms"}, "outside 100ms to 10min"),
        ({"protocol": "3.1"}, "'auto', '5' or '3.1.1'"),
        ({"commands": ["reboot"]}, "'resend', 'rebirth' or 'snapshot'"),
        ({"dataschema": "https://x/{typ}"}, "only {name} and {version}"),
        ({"dataschema": "schemas/{name}"}, "no absolute URI"),
        ({"brokers": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_block_names_the_remedy(changes, remedy):
    """Every mistake has a text that says what to write instead."""
    with pytest.raises(ValidationError) as caught:
        MqttConfig.model_validate({**PLAIN, **changes})
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("tls", "remedy"),
    [({}, "name the CA"), ({"ca": "x", "cert": "y"}, "cert and key belong together"), ({"ca": "x", "key": "y"}, "belong together")],
)
def test_a_wrong_tls_block_names_the_remedy(tls, remedy):
    """No CA, no trust; half a pair is no pair."""
    with pytest.raises(ValidationError, match=remedy):
        MqttConfig.model_validate({**SECURE, "tls": tls})


def test_a_password_in_the_address_is_not_repeated():
    """The error about a password in the address does not show it to whoever reads the log."""
    with pytest.raises(ValidationError) as caught:
        MqttConfig.model_validate({**PLAIN, "broker": "mqtt://user:canary@h"})
    assert "canary" not in str(caught.value.errors()[0]["msg"])
