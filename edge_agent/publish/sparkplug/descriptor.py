"""Sparkplug B's Protocol Buffers messages, described here and made by the protobuf library when this is imported.

Names and numbers are those of the specification's schema (chapter 6, "Google Protocol Buffer Schema"); what the agent neither sends nor reads
(data sets, templates, metadata) is left out and, where somebody sends it, kept as unknown fields.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "edge_agent.sparkplug"
_TYPES = {
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}
_MESSAGES: dict[str, tuple[str, ...]] = {
    "PropertyValue": (
        "1 type uint32",
        "2 is_null bool",
        "3 int_value uint32 =",
        "4 long_value uint64 =",
        "5 float_value float =",
        "6 double_value double =",
        "7 boolean_value bool =",
        "8 string_value string =",
    ),
    "PropertySet": ("1 keys string *", "2 values PropertyValue *"),
    "Metric": (
        "1 name string",
        "2 alias uint64",
        "3 timestamp uint64",
        "4 datatype uint32",
        "5 is_historical bool",
        "6 is_transient bool",
        "7 is_null bool",
        "9 properties PropertySet",
        "10 int_value uint32 =",
        "11 long_value uint64 =",
        "12 float_value float =",
        "13 double_value double =",
        "14 boolean_value bool =",
        "15 string_value string =",
        "16 bytes_value bytes =",
    ),
    "Payload": ("1 timestamp uint64", "2 metrics Metric *", "3 seq uint64", "4 uuid string", "5 body bytes"),
}
"""Message -> fields: number, name, type, then ``*`` for repeated and ``=`` for a member of the one-of ``value``."""


def _file() -> FileDescriptorProto:
    made = FileDescriptorProto(name="edge_agent/sparkplug_b.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = made.message_type.add(name=message)
        if any(field.endswith("=") for field in fields):
            described.oneof_decl.add(name="value")
        for field in fields:
            number, name, kind, *how = field.split()
            one = described.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
            if kind in _TYPES:
                one.type = _TYPES[kind]
            else:
                one.type, one.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            if how == ["*"]:
                one.label = FieldDescriptorProto.LABEL_REPEATED
            elif how == ["="]:
                one.oneof_index = 0
    return made


_pool = DescriptorPool()
_pool.AddSerializedFile(_file().SerializeToString())

Payload: Any = GetMessageClass(_pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))
"""The message of every topic but STATE."""
