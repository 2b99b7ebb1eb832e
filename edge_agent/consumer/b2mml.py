"""An event as B2MML V7.01 ``OperationsEvent``, for systems that take ISA-95 messages in XML. Pure.

Names and order of the elements are those of the schema's ``OperationsEventType``; what has no element of its own (the members of ``data``) stands as
JSON in a second Description, which the schema lets repeat. The values come from the envelope: ID from ``id``,
EffectiveTimeStamp from ``time``, RecordTimeStamp from ``recordedtime``, HierarchyScope from ``subject``, Category from ``type``, Source from ``source``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring

NAMESPACE = "http://www.mesa.org/xml/B2MML"
_TYPES = {"alarm": "Alarm", "device": "Alert", "agent": "Alert", "collection": "Alert", "signal": "Alert"}
_OPERATIONS = {"quality": "Quality", "material": "Inventory", "tool": "Maintenance"}
_ENVELOPE = frozenset({"epoch", "seq", "ts", "cfg", "late", "derivation"})

register_namespace("", NAMESPACE)


def operations_event(event: Mapping[str, Any]) -> bytes:
    """Return a CloudEvent of the agent as an ``OperationsEvent`` document in UTF-8. Raises KeyError where the envelope is not complete."""
    name = str(event["type"])
    family = _family(name)
    root = Element(_tag("OperationsEvent"))
    _text(root, "ID", event["id"])
    _text(root, "Description", name)
    _text(root, "Description", json.dumps(_told(event["data"]), ensure_ascii=False))
    scope = SubElement(root, _tag("HierarchyScope"))
    _text(scope, "EquipmentID", event["subject"])
    _text(scope, "EquipmentLevel", "WorkUnit")
    _text(root, "EffectiveTimeStamp", event["time"])
    _text(root, "RecordTimeStamp", event["recordedtime"])
    _text(root, "OperationsEventType", _TYPES.get(family, "Event"))
    _text(root, "OperationsType", _OPERATIONS.get(family, "Production"))
    _text(root, "MOMFunction", "Data collection")
    _text(root, "Category", name)
    _text(root, "Source", event["source"])
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _told(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of data that say what happened; where it stands in its stream is in the ID."""
    return {key: value for key, value in data.items() if key not in _ENVELOPE and value is not None}


def _family(name: str) -> str:
    """Return ``alarm`` of ``edgeagent.alarm.raised.v1``: the word before the name's last."""
    parts = [part for part in name.split(".") if not (part[:1] == "v" and part[1:].isdecimal())]
    return parts[-2] if len(parts) > 1 else parts[0]


def _text(parent: Element, name: str, value: object) -> None:
    SubElement(parent, _tag(name)).text = str(value)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
