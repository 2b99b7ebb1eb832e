"""Configuration and addresses: what is read, and what a user is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from edge_agent.drivers.opcua.address import NodeAddress, Step, parse_node, parse_path
from edge_agent.drivers.opcua.config import OpcUaConfig, endpoint, tags_of
from edge_agent.model.reading import Tag

GOOD: dict[str, Any] = {
    "version": 1, "device": "plc", "driver": "opcua", "url": "opc.tcp://Plc-1/Path/", "allow_insecure": True, "namespace": "urn:x",
    "tags": {"a": {"node": "s=A"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s=Filler.Admin.Alarm[0].ID", NodeAddress(None, "Filler.Admin.Alarm[0].ID")),
        ("ns=2;s=a;b=c", NodeAddress(2, "a;b=c")),
        ("nsu=http://acme.com/UA/;i=4294967295", NodeAddress("http://acme.com/UA/", 4294967295)),
        ("ns=0;i=2258", NodeAddress(0, 2258)),
        ("g=09087e75-8e5e-499b-954f-f2a9603db28a", NodeAddress(None, UUID("09087e75-8e5e-499b-954f-f2a9603db28a"))),
        ("ns=3;b=M/RbKBsRVkePCePcx24oRA==", NodeAddress(3, bytes.fromhex("33f45b281b1156478f09e3dcc76e2844"))),
    ],
)
def test_node_ids_are_read_as_the_standard_writes_them(text: str, address: NodeAddress) -> None:
    """Each identifier type, with index, URI or no namespace."""
    assert parse_node(text) == address


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Objects/2:Line/2:Speed", (Step(2, "Line"), Step(2, "Speed"))),
        ("/Objects/Line", (Step(None, "Line"),)),
        ("Root/0:Objects/nsu=http://acme.com/UA/;Line/Speed", (Step("http://acme.com/UA/", "Line"), Step(None, "Speed"))),
        ("2:Line/a&/b", (Step(2, "Line"), Step(None, "a/b"))),
    ],
)
def test_browse_paths_are_read(text: str, steps: tuple[Step, ...]) -> None:
    """Indexes, URIs that hold slashes, and escaped slashes."""
    assert parse_path(text) == steps


@pytest.mark.parametrize("text", ["", "A", "s=", "ns=x;s=A", "ns=70000;s=A", "i=-1", "i=4294967296", "g=12", "b=?", "nsu=;s=A"])
def test_a_wrong_node_id_is_refused(text: str) -> None:
    """Everything that is no node id raises ValueError."""
    with pytest.raises(ValueError, match=r"node id|identifier|above 65535"):
        parse_node(text)


@pytest.mark.parametrize("text", ["", "/", "Objects", "Root/Objects", "a//b", "2:", "nsu=urn:x:Line/Speed"])
def test_a_wrong_browse_path_is_refused(text: str) -> None:
    """A path without names, or with an empty one, raises ValueError."""
    with pytest.raises(ValueError, match=r"browse path|names no node|no name|no ';' behind"):
        parse_path(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://plc:4840"}, "write opc.tcp://host:4840"),
        ({"url": "opc.tcp://"}, "write opc.tcp://host:4840"),
        ({"url": "opc.tcp://u:p@plc"}, "keys of their own"),
        ({"url": "opc.tcp://plc:99999"}, "write opc.tcp://host:4840"),
        ({"boot": "b"}, "boot: b is no tag"),
        ({"namespace": None}, "names no namespace"),
        ({"namespace": "2"}, "a URI, not an index"),
        ({"sampling": "1ms"}, "shortest interval is 10ms"),
        ({"sampling": 100}, "not a duration"),
        ({"colour": "red"}, "Extra inputs"),
        ({"tags": {}}, "at least 1 item"),
        ({"tags": {"a b": {"node": "s=A"}}}, "match pattern"),
        ({"tags": {"a": {}}}, "exactly one of node"),
        ({"tags": {"a": {"node": "s=A", "path": "A"}}}, "exactly one of node"),
        ({"tags": {"a": {"node": "A"}}}, "is not a node id"),
        ({"tags": {"a": {"node": "s=A", "type": "real"}}}, "Input should be"),
        ({"tags": {"a": {"node": "s=A", "scale": 0}}}, "scale 0"),
        ({"tags": {"a": {"node": "s=A", "scale": float("nan")}}}, "finite"),
        ({"tags": {"a": {"node": "s=A", "type": "string", "deadband": 1}}}, "a string has no scale"),
        ({"tags": {"a": {"node": "s=A", "acknowledge": True}}}, "needs its type"),
        ({"tags": {"a": {"node": "s=A", "acknowledge": True, "type": "int16", "scale": 2}}}, "written as it is"),
    ],
)
def test_a_wrong_configuration_says_what_to_do(change: dict[str, Any], said: str) -> None:
    """Each mistake is refused with the words that mend it."""
    with pytest.raises(ValidationError, match=said):
        OpcUaConfig.model_validate(GOOD | change)


def test_the_demo_plc_is_valid() -> None:
    """The shipped device file gives its tags in order, with its sampling as period."""
    text = (Path(__file__).parents[2] / "config/devices/plc1.yaml").read_text(encoding="utf-8")
    values = YAML(typ="safe").load(text)
    values["url"] = "opc.tcp://127.0.0.1:4840"
    config = OpcUaConfig.model_validate(values)
    tags = tags_of(config)
    assert tags[0] == Tag("plc1", "state", "int32", period=100_000_000)
    assert [tag.name for tag in tags] == list(values["tags"])
    assert [tag.name for tag in tags if tag.acknowledge] == ["rec_ack"]


def test_endpoints_are_alike_however_they_are_spelt() -> None:
    """Upper case, the default port and a last slash make no difference; another path does."""
    one = OpcUaConfig.model_validate(GOOD)
    same = OpcUaConfig.model_validate(GOOD | {"url": "opc.tcp://plc-1:4840/Path"})
    other = OpcUaConfig.model_validate(GOOD | {"url": "opc.tcp://plc-1:4840/Other"})
    assert endpoint(one) == endpoint(same) == "opc.tcp://plc-1:4840/Path" != endpoint(other)


def test_the_configuration_does_not_load_the_library() -> None:
    """The catalogue of drivers imports every configuration; none may cost a second at start."""
    code = "import sys, edge_agent.drivers.opcua.config; sys.exit('asyncua' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
