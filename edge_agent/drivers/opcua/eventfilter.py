"""Which fields of events are asked for, and how (OPC 10000-4, 7.22.3). The order of `FIELDS` is the order of the answer.

Severity, source and type are judged by the agent and not by the server's where clause: many servers know no such clause, and one that did would
keep the end of an alarm back whose severity fell meanwhile.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from typing import Final

from asyncua import ua

_BASE, _CONDITION, _ACKNOWLEDGEABLE, _ALARM = 2041, 2782, 2881, 2915

FIELDS: Final[dict[str, tuple[int, str]]] = {
    "event_id": (_BASE, "EventId"),
    "event_type": (_BASE, "EventType"),
    "source_node": (_BASE, "SourceNode"),
    "source": (_BASE, "SourceName"),
    "time": (_BASE, "Time"),
    "received": (_BASE, "ReceiveTime"),
    "message": (_BASE, "Message"),
    "severity": (_BASE, "Severity"),
    "condition_id": (_CONDITION, ""),
    "name": (_CONDITION, "ConditionName"),
    "branch": (_CONDITION, "BranchId"),
    "retain": (_CONDITION, "Retain"),
    "enabled": (_CONDITION, "EnabledState/Id"),
    "quality": (_CONDITION, "Quality"),
    "comment": (_CONDITION, "Comment"),
    "by": (_CONDITION, "ClientUserId"),
    "kind": (_CONDITION, "ConditionClassId"),
    "acked": (_ACKNOWLEDGEABLE, "AckedState/Id"),
    "confirmed": (_ACKNOWLEDGEABLE, "ConfirmedState/Id"),
    "active": (_ALARM, "ActiveState/Id"),
    "since": (_ALARM, "ActiveState/TransitionTime"),
    "suppressed": (_ALARM, "SuppressedState/Id"),
    "shelved": (_ALARM, "ShelvingState/CurrentState/Id"),
}
"""Name of a field -> the type that declares it and its browse path; the empty path is the node id of the condition itself."""


def event_filter(*, plain: bool = False) -> ua.EventFilter:
    """Return the filter that selects `FIELDS`; ``plain``: all of them of BaseEventType, for servers that know no other type there."""
    out = ua.EventFilter()
    out.SelectClauses = [_operand(of, path, plain=plain) for of, path in FIELDS.values()]
    return out


def _operand(of: int, path: str, *, plain: bool) -> ua.SimpleAttributeOperand:
    # The node id of a condition is declared by ConditionType and by nothing else (OPC 10000-9, 5.5.2).
    steps = [ua.QualifiedName(name, 0) for name in path.split("/")] if path else []
    attribute = ua.AttributeIds.Value if path else ua.AttributeIds.NodeId
    return ua.SimpleAttributeOperand(ua.NodeId(_BASE if plain and path else of), steps, attribute)
