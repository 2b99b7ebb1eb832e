"""The configuration: what line engineers write, and what they are told when it cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of, tags_of
from edge_agent.drivers.modbus.connection import endpoint
from edge_agent.drivers.modbus.plan import plan

BASE = {"version": 1, "device": "capper", "driver": "modbus", "host": "10.0.0.6"}
DEVICES = Path(__file__).parents[2] / "config" / "devices"


def config(tags: dict[str, dict[str, object]], **more: object) -> ModbusConfig:
    """Validate one device."""
    return ModbusConfig.model_validate({**BASE, "tags": tags, **more})


EXAMPLE = YAML(typ="safe").load("""
version: 1
device: capper
driver: modbus
host: 10.0.0.6
unit_id: 1
poll: 500ms
word_order: big
tags:
  state:       {register: holding, address: 0}
  good_count:  {register: holding, address: 10, type: uint32}
  torque:      {register: input, address: 4, type: float32, scale: 0.1, uom: N.m, deadband: 0.05, bad_values: [.nan]}
  door_open:   {register: holding, address: 2, bit: 3}
""")


def test_the_documented_example() -> None:
    """The example of the documentation gives these tags."""
    tags = tags_of(ModbusConfig.model_validate(EXAMPLE))
    assert [(tag.ref, tag.type, tag.scale, tag.uom, tag.period) for tag in tags] == [
        ("capper.state", "uint16", 1.0, None, 500_000_000),
        ("capper.good_count", "uint32", 1.0, None, 500_000_000),
        ("capper.torque", "float32", 0.1, "N.m", 500_000_000),
        ("capper.door_open", "bool", 1.0, None, 500_000_000),
    ]


@pytest.mark.parametrize(("file", "blocks"), [("heater.yaml", ["holding 0-2"]), ("meter-main.yaml", ["input 0-4"])])
def test_the_demo_devices(file: str, blocks: list[str]) -> None:
    """Each demo device is read by one request, and all its tags are one snapshot."""
    content = {**YAML(typ="safe").load(DEVICES / file), "host": "127.0.0.1", "port": "5021"}
    loaded = ModbusConfig.model_validate(content)
    assert [block.name for block in plan(fields_of(loaded), loaded.limits)] == blocks
    assert len({tag.snapshot for tag in tags_of(loaded)}) == 1


@pytest.mark.parametrize(
    ("tag", "base", "place"),
    [
        ({"register": "holding", "address": 10}, 0, ("holding", 10)),
        ({"register": "holding", "address": 10}, 1, ("holding", 9)),
        ({"register": "holding", "address": 65536}, 1, ("holding", 65535)),
        ({"ref": 40011}, 0, ("holding", 10)),
        ({"ref": 40011}, 1, ("holding", 10)),
        ({"ref": "400011"}, 0, ("holding", 10)),
        ({"ref": 465536}, 0, ("holding", 65535)),
        ({"ref": 30005, "register": "input"}, 0, ("input", 4)),
        ({"ref": 10001}, 0, ("discrete", 0)),
        ({"ref": "00017"}, 0, ("coil", 16)),
    ],
)
def test_addresses_as_people_write_them(tag: dict[str, object], base: int, place: tuple[str, int]) -> None:
    """Numbers count from address_base, vendors' references always from 1."""
    (field,) = fields_of(config({"t": tag}, address_base=base))
    assert (field.area, field.address) == place


@pytest.mark.parametrize(
    ("device", "tag", "order"),
    [("big", {}, "ABCD"), ("little", {}, "CDAB"), ("DCBA", {}, "DCBA"), ("DCBA", {"word_order": "big"}, "ABCD"),
     ("DCBA", {"type": "uint16"}, "ABCD"), ("DCBA", {"type": "string", "length": 8}, "ABCD"), ("big", {"type": "uint16", "word_order": "BADC"}, "BADC")],
)  # fmt: skip
def test_word_order_is_inherited_by_values_of_several_registers(device: str, tag: dict[str, object], order: str) -> None:
    """A tag's own order wins; single registers and texts are as the protocol sends them unless the tag says otherwise."""
    (field,) = fields_of(config({"t": {"register": "holding", "address": 0, "type": "uint32", **tag}}, word_order=device))
    assert field.order == order


def test_same_read_as_binds_whole_groups() -> None:
    """Chains of same_read_as are one group, read by one request although there is a gap."""
    at = {"register": "holding"}
    loaded = config(
        {
            "a": {**at, "address": 0},
            "b": {**at, "address": 50, "same_read_as": "a"},
            "c": {**at, "address": 90, "same_read_as": "b"},
        }
    )
    assert [block.name for block in plan(fields_of(loaded), loaded.limits)] == ["holding 0-90"]


def test_devices_of_one_gateway_share_an_endpoint() -> None:
    """Host and port make the endpoint, whatever the unit and the spelling."""
    tags = {"t": {"register": "coil", "address": 0}}
    assert (
        endpoint(config(tags, host="GW.plant", unit_id=3))
        == endpoint(config(tags, host="gw.plant", unit_id=4))
        == "modbus-tcp://gw.plant:502"
    )


HOLDING = {"register": "holding", "address": 0}


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ({"register": "holding"}, "the address is missing; write for example"),
        ({"address": 3}, "register is missing; add register: holding"),
        ({**HOLDING, "ref": 40001}, "both address and ref are given"),
        ({"ref": 50001}, "ref 50001 is not a vendor's address"),
        ({"ref": 17}, "coil, in quotes: '00001'"),
        ({"ref": 40000}, "counts from 1"),
        ({"ref": 40001, "register": "input"}, "ref 40001 is a holding address, but register says input"),
        ({"register": "coil", "address": 1, "type": "uint16"}, "a coil is one bit"),
        ({**HOLDING, "bit": 3, "type": "uint16"}, "bit picks one bit of a register, which is a bool"),
        ({**HOLDING, "bit": 16}, "less than or equal to 15"),
        ({**HOLDING, "type": "bool"}, "add bit: 0 (least significant) to 15"),
        ({**HOLDING, "type": "string"}, "every string needs one; write type: string, length: 20"),
        ({**HOLDING, "type": "string", "length": 4, "scale": 2}, "a string has no scale"),
        ({**HOLDING, "type": "string", "length": 4, "word_order": "CDAB"}, "a string is read register by register"),
        ({**HOLDING, "scale": 0}, "scale 0 makes every value the same"),
        ({**HOLDING, "type": "int16", "bad_values": [65536]}, "a raw int16 is a whole number -32768 to 32767, never 65536"),
        ({**HOLDING, "bad_values": [float("nan")]}, "a raw uint16 is a whole number 0 to 65535"),
        ({**HOLDING, "deadband": 0}, "greater than 0"),
        ({**HOLDING, "poll": "5ms"}, "the shortest interval is 10ms"),
        ({**HOLDING, "poll": 5}, "write a number with its unit"),
        ({**HOLDING, "address": True}, "a whole number is expected, not yes/no"),
        ({**HOLDING, "address": 400_011}, "less than or equal to 65536"),
        ({**HOLDING, "address": 65_536}, "is it a vendor's reference"),
        ({**HOLDING, "address": 65_535, "type": "uint32"}, "the value ends behind the last address"),
        ({**HOLDING, "same_read_as": "other"}, "tags.t.same_read_as: other is no other tag of this device"),
        ({**HOLDING, "same_read_as": "t"}, "is no other tag of this device"),
        ({**HOLDING, "type": "float"}, "Input should be 'bool', 'int8'"),
        ({**HOLDING, "word_order": "middle"}, "Input should be 'ABCD', 'CDAB', 'BADC', 'DCBA', 'EFGHABCD'"),
        ({**HOLDING, "unit": "bar"}, "Extra inputs are not permitted"),
    ],
)
def test_mistakes_in_a_tag_are_explained(tag: dict[str, object], words: str) -> None:
    """Each mistake is refused with its cause and remedy."""
    with pytest.raises(ValidationError) as caught:
        config({"t": tag})
    assert words in str(caught.value).replace("\n", " ")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"version": 2}, "Input should be 1"),
        ({"host": ""}, "at least 1 character"),
        ({"host": "http://10.0.0.6"}, "String should match pattern"),
        ({"unit_id": 256}, "less than or equal to 255"),
        ({"max_registers": 126}, "less than or equal to 125"),
        ({"max_registers": 1}, "t: one request would need 2 registers, the device allows 1"),
        ({"address_base": 1}, "tags.t: address 0 is before the first one, because address_base is 1"),
        ({"timeout": "1ms"}, "the shortest interval is 10ms"),
    ],
)
def test_mistakes_in_a_device_are_explained(more: dict[str, object], words: str) -> None:
    """Each mistake is refused with its cause and remedy."""
    with pytest.raises(ValidationError) as caught:
        config({"t": {**HOLDING, "type": "uint32"}}, **more)
    assert words in str(caught.value)


def test_the_catalogue_imports_no_protocol_library() -> None:
    """Loading device files costs neither pymodbus nor asyncua, whatever devices there are."""
    code = "import sys, edge_agent.drivers.catalog; print([m for m in ('pymodbus', 'asyncua') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
