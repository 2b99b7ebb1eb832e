"""Structures and enumerations on an asyncua server, for the tests of addressing."""

from __future__ import annotations

from typing import Any

from asyncua import ua
from asyncua.common.node import Node
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from opcua_plant import Plc


async def add_types(plc: Plc) -> dict[str, Node]:
    """Add Motor and Drive (which has motors in it) and Mode to a running server; returns the data types."""
    index, server = plc.index, plc.server
    mode = await new_enum(server, index, "Mode", ["Off", "Manual", "Auto"])
    motor, _ = await new_struct(server, index, "Motor", [
        new_struct_field("On", ua.VariantType.Boolean),
        new_struct_field("Speed", ua.VariantType.Float),
        new_struct_field("Name", ua.VariantType.String),
        new_struct_field("Counts", ua.VariantType.UInt32, array=True),
    ])  # fmt: skip
    drive, _ = await new_struct(server, index, "Drive", [
        new_struct_field("Id", ua.VariantType.Int32),
        new_struct_field("Mode", mode),
        new_struct_field("Main", motor),
        new_struct_field("Motors", motor, array=True),
        new_struct_field("Started", ua.VariantType.DateTime),
    ])  # fmt: skip
    await server.load_data_type_definitions()
    return {"Mode": mode, "Motor": motor, "Drive": drive}


def motor(speed: float, name: str = "M", counts: tuple[int, ...] = (1, 2, 3)) -> Any:
    """Return a value of the type Motor."""
    return ua.Motor(On=speed > 0, Speed=speed, Name=name, Counts=list(counts))


async def add_value(plc: Plc, name: str, value: Any, data_type: Node | None = None) -> Node:
    """Add a variable ``s=<name>`` that holds structures, an enumeration's number or an array."""
    kind = data_type.nodeid if data_type is not None else None
    node = await plc.server.nodes.objects.add_variable(ua.NodeId(name, plc.index), f"{plc.index}:{name}", value, datatype=kind)
    plc.nodes[name] = node
    return node
