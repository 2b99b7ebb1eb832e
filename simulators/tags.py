"""The PLC's address space: which OPC UA node carries which tag of the line, in the namespace `NAMESPACE`."""

from __future__ import annotations

from dataclasses import dataclass

from simulators.tracks import Value

NAMESPACE = "urn:edge-agent:demo-line"

OTHER_NAMESPACES = ("http://opcfoundation.org/UA/DI/", "http://opcfoundation.org/UA/PackML/")
"""Registered before `NAMESPACE`, so that nobody can rely on its index."""


@dataclass(frozen=True)
class Node:
    """One variable: string node id, OPC UA type name, and its value at a boot of a PLC that knows nothing else."""

    identifier: str
    type: str
    zero: Value


_STATUS, _ADMIN, _REC = "Filler.Status", "Filler.Admin", "Filler.Rec"

NODES = {
    "state": Node(f"{_STATUS}.StateCurrent", "Int32", 0),
    "mode": Node(f"{_STATUS}.UnitModeCurrent", "Int32", 0),
    "set_speed": Node(f"{_STATUS}.MachSpeed", "Float", 0.0),
    "speed": Node(f"{_STATUS}.CurMachSpeed", "Float", 0.0),
    "starved": Node(f"{_STATUS}.EquipmentStarved", "Boolean", False),
    "blocked": Node(f"{_STATUS}.EquipmentBlocked", "Boolean", False),
    "design_speed": Node(f"{_ADMIN}.MachDesignSpeed", "Float", 0.0),
    "total": Node(f"{_ADMIN}.ProdProcessedCount[0].AccCount", "Int32", 0),
    "scrap": Node("Filler.Reject.Count16", "UInt16", 0),
    "acc_time": Node(f"{_ADMIN}.AccTimeSinceReset", "Int32", 0),
    "stop_id": Node(f"{_ADMIN}.StopReason.ID", "Int32", 0),
    "stop_value": Node(f"{_ADMIN}.StopReason.Value", "Int32", 0),
    "boot_count": Node("Filler.Plc.BootCount", "UInt32", 0),
    "heartbeat": Node("Filler.Plc.Heartbeat", "UInt16", 0),
    "order": Node("Filler.Ctx.OrderId", "String", ""),
    "product": Node("Filler.Ctx.Product", "String", ""),
    "lot": Node("Filler.Ctx.Lot", "String", ""),
    **{
        f"alarm{slot}_{field}": Node(f"{_ADMIN}.Alarm[{slot}].{name}", kind, zero)
        for slot in range(4)
        for field, name, kind, zero in (
            ("id", "ID", "Int32", 0),
            ("value", "Value", "Int32", 0),
            ("message", "Message", "String", ""),
            ("trigger", "Trigger", "Boolean", False),
        )
    },
    "rec_serial": Node(f"{_REC}.Serial", "String", ""),
    "rec_weight": Node(f"{_REC}.Weight_g", "Float", 0.0),
    "rec_verdict": Node(f"{_REC}.Verdict", "Int16", 0),
    "rec_seq": Node(f"{_REC}.Seq", "UInt32", 0),
    "rec_seq_end": Node(f"{_REC}.SeqEnd", "UInt32", 0),
    "rec_ack": Node(f"{_REC}.Ack", "UInt32", 0),
}

HANDSHAKE = ("rec_serial", "rec_weight", "rec_verdict", "rec_seq", "rec_seq_end", "rec_ack")
"""The tags that the check weigher's hand-over writes, all others belong to the line."""
