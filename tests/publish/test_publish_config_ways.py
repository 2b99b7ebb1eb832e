"""Lists of brokers, proxies and source addresses: what users write, and what they read when it is wrong."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edge_agent.publish.config import MqttConfig

PLAIN = {"broker": "mqtt://broker.plant1", "allow_insecure": True}


def test_a_list_is_tried_in_its_order_each_by_its_own_way():
    """Texts and mappings mix; what an entry does not say, it takes from the block."""
    config = MqttConfig.model_validate(
        {
            "broker": ["mqtts://a", {"url": "wss://b:8443/x", "source_address": "10.0.0.6", "proxy": "direct"}],
            "source_address": "10.0.0.5",
            "proxy": {"url": "http://proxy:3128", "username": "gw", "password_file": "/run/p"},
            "tls": {"ca": "system"},
        }
    )
    first, second = config.brokers
    assert (first.where, first.source, first.path, first.encrypted) == ("a:8883", "10.0.0.5", "", True)
    assert first.proxy is not None
    assert (first.proxy.where, first.proxy.username, first.proxy.password_file) == ("proxy:3128", "gw", "/run/p")
    assert (second.where, second.source, second.path, second.proxy) == ("b:8443", "10.0.0.6", "/x", None)


@pytest.mark.parametrize(
    ("url", "where", "path"),
    [
        ("ws://h", "h:80", "/mqtt"),
        ("ws://h/", "h:80", "/mqtt"),
        ("wss://h/a/b", "h:443", "/a/b"),
        ("ws://[::1]:8080/mqtt", "[::1]:8080", "/mqtt"),
    ],
)
def test_websocket_addresses(url, where, path):
    """Ports of HTTP and the usual path, unless others are given."""
    config = MqttConfig.model_validate(
        {"broker": url, "allow_insecure": True, **({"tls": {"ca": "system"}} if "wss" in url else {})}
    )
    (broker,) = config.brokers
    assert (broker.where, broker.path, broker.websocket) == (where, path, True)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"broker": []}, "at least one broker"),
        ({"broker": ["mqtt://a", "mqtt://a"]}, "twice"),
        ({"broker": ["mqtt://a", "a:1883"]}, "write mqtts://host:8883"),
        ({"broker": ["mqtt://a", "mqtts://b"]}, "tls: {ca: FILE}"),
        ({"broker": ["mqtt://a", "mqtts://b"], "tls": {"ca": "system"}, "allow_insecure": False}, "allow_insecure: true"),
        ({"broker": {"url": "mqtt://a", "port": 1}}, "Extra inputs"),
        ({"broker": "ws://h/a b"}, "write them as %XX"),
        ({"broker": "ws://h/a?token=x"}, "more than host and port"),
        ({"source_address": "eth0"}, "no IP address; write an address of this machine"),
        ({"proxy": "proxy:3128"}, "no proxy address; write http://host:port"),
        ({"proxy": "https://proxy:3128"}, "no proxy address"),
        ({"proxy": "http://proxy"}, "write http://host:port"),
        ({"proxy": "http://u:p@proxy:1"}, "use username and password_file"),
        ({"proxy": {"url": "http://proxy:1", "password_file": "/p"}}, "add username"),
        ({"proxy": {"url": "http://proxy:1", "username": "a:b"}}, "no colon"),
        ({"drain_rate": "0.5/s"}, "at least 1/s"),
        ({"drain_rate": 100}, "per unit of time"),
        ({"reject_after": 0}, "greater than or equal to 1"),
        ({"return_after": "soon"}, "never"),
    ],
)
def test_a_wrong_way_names_the_remedy(changes, remedy):
    """Every mistake has a text that says what to write instead."""
    with pytest.raises(ValidationError) as caught:
        MqttConfig.model_validate({**PLAIN, **changes})
    assert remedy in str(caught.value)


def test_defaults_of_the_ways():
    """No proxy, any interface, a look for the first broker every 5 min, no pace, three tries for an invalid message."""
    config = MqttConfig.model_validate(PLAIN)
    assert (config.return_after, config.drain_rate, config.reject_after) == (300 * 10**9, None, 3)
    assert (config.brokers[0].proxy, config.brokers[0].source, config.files) == (None, None, ())
    assert MqttConfig.model_validate({**PLAIN, "drain_rate": "500/s"}).drain_rate == 500.0
