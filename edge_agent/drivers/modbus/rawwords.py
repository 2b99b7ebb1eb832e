"""A device with each register of its tags as a tag beside it: what `edge-agent read` shows in hex comes from the very answer that the value comes from (pure)."""

from __future__ import annotations

from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.field import is_bits
from edge_agent.drivers.modbus.tag import ModbusTag


def with_words(config: ModbusConfig) -> tuple[ModbusConfig, dict[int, tuple[int, ...]]]:
    """Return the device with more tags behind its own, and for each tag of registers, by its index, those that hold its words."""
    tags, words = dict(config.tags), {}
    for field in fields_of(config):
        if is_bits(field.area):
            continue
        first = len(tags)
        tag = config.tags[field.name]
        for number in range(field.size):
            tags[f"{field.name} word {number}"] = ModbusTag.model_validate({
                "register": field.area, "address": field.address + number + config.address_base, "type": "uint16", "bad_values": (),
                "same_read_as": field.name, "poll": tag.poll, "read_twice": tag.read_twice, "word_order": "ABCD",
            })  # fmt: skip
        words[field.index] = tuple(range(first, len(tags)))
    return config.model_copy(update={"tags": tags}), words
