"""What counts as different between two configurations: a table."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.difference import Changes, Difference, difference
from edge_agent.config.load import load

Files = dict[str, Any]


def _modbus(name: str, port: int, unit_id: int = 1, **more: Any) -> dict[str, Any]:
    tags = {tag: {"register": "holding", "address": at, "type": "uint16"} for at, tag in enumerate(("count", "order", "spare"))}
    wanted = {"version": 1, "device": name, "driver": "modbus", "host": "127.0.0.1", "port": port, "unit_id": unit_id, "poll": "1s"}
    return wanted | {"tags": tags} | more


def _unit(name: str, device: str) -> dict[str, Any]:
    counter = {"tag": f"{device}.count", "role": "total", "wraps": "uint16", "max_rate": "10/s"}
    return {"version": 1, "unit": name, "counters": {"total": counter}}


def _files() -> Files:
    """Two devices alone, two on one line, one OPC UA server; a unit for each but the second on the line."""
    tags = {"count": {"node": "ns=2;s=Count", "type": "uint16"}, "state": {"node": "ns=2;s=State", "type": "int32"}}
    opcua = {
        "version": 1,
        "device": "ua",
        "driver": "opcua",
        "url": "opc.tcp://127.0.0.1:4840",
        "allow_insecure": True,
        "tags": tags,
    }
    return {
        "version": 1,
        "agent": "gw1",
        "site": ["acme"],
        "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True},
        "buffer": {"path": "buffer"},
        "devices": [_modbus("a", 5001), _modbus("b", 5002), _modbus("line1", 5003), _modbus("line2", 5003, 2), opcua],
        "units": [_unit("ua1", "a"), _unit("ub", "b"), _unit("ul", "line1"), _unit("uu", "ua")],
    }


def _device(files: Files, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in files["devices"] if each["device"] == name)
    return found


def _of(files: Files, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in files["units"] if each["unit"] == name)
    return found


def compare(folder: Path, change: Callable[[Files], object]) -> Difference:
    """Return the difference that ``change`` makes."""
    found = []
    for name, files in (("old", _files()), ("new", copy.deepcopy(_files()))):
        if name == "new":
            change(files)
        file = folder / f"{name}.yaml"
        file.write_text(json.dumps(files))
        found.append(load(file))
    return difference(*found)


SAME = Changes(same=("ua1", "ub", "ul", "uu"))
ALL = ("a", "b", "line1", "line2", "ua")


@pytest.mark.parametrize(
    ("change", "devices", "units"),
    [
        pytest.param(lambda _: None, (), (), id="nothing"),
        pytest.param(lambda f: f["units"].reverse(), (), (), id="the order of units means nothing"),
        pytest.param(lambda f: _device(f, "a").update(port=5009), ("a",), (), id="another address: the device alone"),
        pytest.param(lambda f: _device(f, "a").update(poll="2s"), ("a",), ("ua1",), id="another period: the unit judges by it"),
        pytest.param(lambda f: _device(f, "a")["tags"].pop("spare"), ("a",), ("ua1",), id="another tag list moves indexes"),
        pytest.param(lambda f: _device(f, "line2").update(poll="2s"), ("line1", "line2"), (), id="one line is one connection"),
        pytest.param(lambda f: _of(f, "ub").update(stale_after="9s"), (), ("ub",), id="a unit alone keeps its device"),
        pytest.param(lambda f: _of(f, "ub").update(context={"order": "b.order"}), ("b",), ("ub",), id="what is asked of a device"),
        pytest.param(
            lambda f: f.update(shifts={"early": {"start": "06:00", "end": "14:00"}, "late": {"start": "14:00", "end": "06:00"}}),
            (),
            ("ua1", "ub", "ul", "uu"),
            id="shifts concern every unit",
        ),
        pytest.param(lambda f: f.update(time_zone="Europe/Berlin"), (), (), id="a time zone without shifts concerns nobody"),
        pytest.param(lambda f: _of(f, "uu").update(state={"tag": "ua.state", "model": "packml"}), (), ("uu",), id="another rule"),
    ],
)
def test_only_what_means_something_else_restarts(tmp_path, change, devices, units) -> None:
    """Changed are exactly the devices and units named; connections of all other devices stay."""
    found = compare(tmp_path, change)
    assert set(found.devices.changed) == set(devices)
    assert set(found.units.changed) == set(units)
    assert {name for line in found.lines for name in line} == {*ALL} - {*devices}
    assert (found.standing, found.broker) == ((), False)
    assert found.some is bool(devices or units)


def test_new_and_removed_are_named(tmp_path) -> None:
    """A device with its unit goes, another one comes; in words, too."""

    def change(files: Files) -> None:
        files["devices"][0] = _modbus("c", 5004)
        files["units"][0] = _unit("uc", "c")

    found = compare(tmp_path, change)
    assert found.devices == Changes(("c",), ("a",), (), ("b", "line1", "line2", "ua"))
    assert found.units == Changes(("uc",), ("ua1",), (), ("ub", "ul", "uu"))
    assert found.words() == ["device c new", "device a removed", "unit uc new", "unit ua1 removed"]


def test_a_new_unit_that_wants_records_has_its_device_connected_anew(tmp_path) -> None:
    """A record that waits for its acknowledgement is told behind a connect only."""
    record = {"pattern": "seq", "event": "quality.result", "seq": "b.order", "fields": {"value": "b.count"}, "characteristic": "x"}
    found = compare(tmp_path, lambda files: _of(files, "ub").update(records={"r": record}))
    assert found.devices.changed == ("b",)


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        (lambda f: f.update(agent="gw2"), ("agent",)),
        (lambda f: f.update(site=["other"]), ("site",)),
        (lambda f: f["mqtt"].update(root="x"), ("mqtt.root",)),
        (lambda f: f["mqtt"].update(topics="per_type", format="flat"), ("mqtt.format", "mqtt.topics")),
        (lambda f: f["buffer"].update(path="elsewhere"), ("buffer.path",)),
        (lambda f: f.update(pki="keys"), ("pki",)),
        (lambda f: f.update(events={"type_prefix": "acme"}), ("events",)),
    ],
)
def test_what_a_running_agent_cannot_change_is_named(tmp_path, change, standing) -> None:
    """Each by its key in agent.yaml."""
    found = compare(tmp_path, change)
    assert found.standing == standing
    assert found.some


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f["mqtt"].update(window=5),
        lambda f: f["mqtt"].update(broker="mqtt://127.0.0.2:1"),
        lambda f: f["mqtt"].update(values={}),
    ],
)
def test_other_settings_of_the_broker_renew_its_connection_alone(tmp_path, change) -> None:
    """No device and no unit is touched."""
    found = compare(tmp_path, change)
    assert (found.broker, found.standing, found.units, found.devices.some) == (True, (), SAME, False)


def test_a_unit_that_hears_the_mes_has_the_broker_asked_anew(tmp_path) -> None:
    """What is retained for it comes with the subscription."""
    found = compare(tmp_path, lambda files: _of(files, "ub").update(context={"order": {"mqtt": "acme/mes/order"}}))
    assert (found.broker, found.units.changed, found.devices.some) == (True, ("ub",), False)
