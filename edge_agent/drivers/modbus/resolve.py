"""From tags as users write them to fields as the device holds them: what a tag leaves out comes from the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edge_agent.drivers.modbus.field import FLOATS, PARTS, REGISTERS, Factor, Field, Order
from edge_agent.drivers.modbus.scale import with_ratios
from edge_agent.drivers.modbus.sentinel import raw_values
from edge_agent.drivers.modbus.tag import ModbusTag

if TYPE_CHECKING:
    from edge_agent.drivers.modbus.config import ModbusConfig


def fields_of(config: ModbusConfig) -> tuple[Field, ...]:
    """Return every tag as the device holds it, in configuration order; raises ValueError, in words for the user."""
    together = _together(config.tags)
    fields = {name: _field(config, index, name, together.get(name)) for index, name in enumerate(config.tags)}
    for name, tag in config.tags.items():
        if tag.scale_from is not None:
            fields[name] = replace(fields[name], factor=_factor(config.tags, fields, name))
    return tuple(fields.values())


def _field(config: ModbusConfig, index: int, name: str, together: str | None) -> Field:
    tag = config.tags[name]
    kind = tag.value_type
    text = kind == "string"
    packing = "low_first" if tag.word_order == "BADC" and text else tag.packing or config.packing
    size = REGISTERS.get(kind, tag.length or 1)
    if text and packing in {"high_first", "low_first"}:
        size = (size + 1) // 2
    try:
        area, address = tag.place(config.address_base)
        order = _order(config, tag, size)
        bad = tag.bad_values if tag.bad_values is not None else config.bad_values.get(kind, ())
        bad = raw_values(kind, bad) if bad else ()
    except ValueError as error:
        raise ValueError(f"tags.{name}: {error}") from None
    if address + size > 65_536:  # V1.1b3, 4.4: addresses are 16 bits
        raise ValueError(f"tags.{name}: the value ends behind the last address (65535)")
    return Field(
        index=index, name=name, area=area, address=address, size=size, type=kind, order=order, bit=tag.bit,
        scale=with_ratios(tag.scale, tag.ratio), offset=with_ratios(tag.offset, tag.ratio), deadband=tag.deadband, bad=bad,
        period=config.poll if tag.poll is None else tag.poll, together=together, high=tag.byte == "high", packing=packing,
        encoding=tag.encoding or config.encoding, clamp=tag.clamp, twice=tag.read_twice,
    )  # fmt: skip


def _order(config: ModbusConfig, tag: ModbusTag, size: int) -> Order:
    """Return the order of a value of ``size`` registers; raises ValueError where the device's says nothing about it.

    Each register is sent high byte first (V1.1b3, 4.2): the device's order is none of values of one register, nor of texts.
    """
    if tag.value_type == "string":
        return "ABCD"
    order = tag.word_order or (config.word_order if size > 1 else "ABCD")
    if order in PARTS and size == 3:
        raise ValueError(f"word_order {order} is of 64 bits and says nothing about 48; add word_order: ABCD, CDAB, BADC or DCBA")
    return order if size == 4 else PARTS.get(order, order)


def _factor(tags: Mapping[str, ModbusTag], fields: Mapping[str, Field], name: str) -> Factor:
    """Return the scale register of a tag; raises ValueError where it can be none."""
    scale_from = tags[name].scale_from
    other = scale_from.tag if scale_from is not None else ""
    place = f"tags.{name}.scale_from"
    if other not in fields or other == name:
        raise ValueError(f"{place}: {other} is no other tag of this device")
    field, tag = fields[other], tags[other]
    exponent = scale_from is not None and scale_from.exponent is not None
    if field.type in {"bool", "string"} or tag.scale_from is not None or tag.clamp is not None:
        raise ValueError(f"{place}: {other} must be a number as the device sends it, without scale_from and clamp")
    if exponent and (field.type in FLOATS or tag.scaled):
        raise ValueError(
            f"{place}: the exponent {other} must be a whole number without scale; write factor: {other} if it multiplies"
        )
    return Factor(field, exponent)


def _together(tags: Mapping[str, ModbusTag]) -> dict[str, str]:
    """Return for each tag that shares a request with others the name of its group: the first member in the file.

    Tags share one by ``same_read_as``, and with the tag that scales them: a scale of another moment makes values that never were.
    """
    order = {name: place for place, name in enumerate(tags)}
    group: dict[str, str] = {}
    for name, tag in tags.items():
        for other in (tag.same_read_as, tag.scale_from.tag if tag.scale_from is not None else None):
            if other is None or other not in tags:
                continue
            mine, theirs = group.get(name, name), group.get(other, other)
            first = min(mine, theirs, key=order.__getitem__)
            group |= {member: first for member, of in group.items() if of in {mine, theirs}} | {name: first, other: first}
    return group
