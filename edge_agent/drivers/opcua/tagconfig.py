"""What a user writes about one tag of an OPC UA device. Imports no OPC UA library."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.drivers.opcua.address import parse_node, parse_path
from edge_agent.drivers.opcua.pick import Pick, parse_fields, parse_spans
from edge_agent.model.entry import EntryError
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import Value

T = TypeVar("T")
ValueType = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string"
]  # fmt: skip


class OpcUaTag(BaseModel):
    """One variable of the server. Exactly one of ``node`` (a node id) and ``path`` (browse names below Objects)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str | None = Field(None, description="node id: s=Name, i=1234, ns=2;s=Name or nsu=urn:vendor;s=Name")
    path: str | None = Field(None, description="browse path: Objects/2:Line/2:Speed or Objects/nsu=urn:vendor;Line")
    index: Annotated[int, Field(ge=0, strict=True)] | str | None = Field(
        None, description='one element of an array, from 0; "1,4" in a matrix'
    )
    range: str | None = Field(None, description='elements of an array, both ends included: "2:5"; the value is an array')
    field: str | None = Field(None, description="a field of a structure: Speed, Motor.Speed or Motors[2].Speed")
    type: ValueType | None = Field(None, description="the type the value must have; left out, the server tells")
    scale: Annotated[float, Field(allow_inf_nan=False)] = Field(1.0, description="value = raw * scale + offset")
    offset: Annotated[float, Field(allow_inf_nan=False, description="added after scaling")] = 0.0
    uom: str | None = Field(None, description="unit of measure (UN/CEFACT code or symbol)")
    deadband: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="smallest change reported, in scaled units"
    )
    names: dict[int, str] = Field(
        default_factory=dict, description="what the values of an enumeration are called; the value stays a number"
    )
    sampling: Duration | None = Field(None, description="sampling interval of this tag; default: the device's")
    history: bool = Field(
        False, description="after an outage, read what the server's historian has of it; the server must offer raw history"
    )
    acknowledge: bool = Field(False, description="the one kind of tag that the agent may write: a handshake acknowledgement")

    @field_validator("node")
    @classmethod
    def _node_parses(cls, node: str | None) -> str | None:
        if node is not None:
            parse_node(node)
        return node

    @field_validator("path")
    @classmethod
    def _path_parses(cls, path: str | None) -> str | None:
        if path is not None:
            parse_path(path)
        return path

    @property
    def pick(self) -> Pick | None:
        """What to take of the variable's value, None for all of it; raises ValueError with the remedy."""
        if self.index is None and self.range is None and self.field is None:
            return None
        key, wanted = ("range", self.range) if self.index is None else ("index", str(self.index))
        spans = () if wanted is None else _entry(key, parse_spans, wanted)
        if self.index is not None and any(span.first != span.last for span in spans):
            raise EntryError(f"index {self.index!r} names several elements; write it as range", "index")
        return Pick(spans, self.range is None, _entry("field", parse_fields, self.field) if self.field is not None else ())

    @model_validator(mode="after")
    def _picks_one_thing(self) -> Self:
        pick = self.pick
        if pick is None:
            return self
        if self.index is not None and self.range is not None:
            raise EntryError("index and range are both there; give one of index (one element) and range (several)", "range")
        if self.range is not None and (key := self._other_than_default("type", "field", "deadband")):
            raise EntryError("a range is an array; leave out type, field and deadband, or name one element with index", key)
        if self.range is not None and (key := self._other_than_default("scale", "offset")):
            raise EntryError("a range is an array and is not scaled; name one element with index", key)
        if self.field is not None and self.deadband is not None:
            raise EntryError("servers know no deadband for a field of a structure; leave it out", "deadband")
        if self.acknowledge:
            raise EntryError("an acknowledge tag is a variable of its own; leave out index, range and field", "acknowledge")
        if self.history:
            raise EntryError("history is read of whole variables; leave out history, or index, range and field", "history")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.node is None and self.path is None:
            raise EntryError("the tag has no address; give exactly one of node (a node id) and path (browse names)")
        if self.node is not None and self.path is not None:
            raise EntryError("the tag has two addresses; give exactly one of node (a node id) and path (browse names)", "path")
        if self.scale == 0:
            raise EntryError("scale 0 makes every value the same; leave it out or give the factor", "scale")
        if self.type in {"bool", "string"} and (key := self._other_than_default("scale", "offset", "deadband")):
            raise EntryError(f"a {self.type} has no scale, offset or deadband; leave them out", key)
        if self.acknowledge and self.type is None:
            raise EntryError(
                "an acknowledge tag needs its type, because it is written; add type: uint32 (or what the PLC declares)",
                "acknowledge",
            )
        if self.acknowledge and (key := self._other_than_default("scale", "offset")):
            raise EntryError("an acknowledge tag is written as it is; leave out scale and offset", key)
        return self

    def _other_than_default(self, *keys: str) -> str:
        """Return the first of the keys that says something, "" where none does."""
        return next((key for key in keys if getattr(self, key) != type(self).model_fields[key].default), "")


def _entry(key: str, parse: Callable[[str], T], text: str) -> T:
    """Return what ``parse`` makes of the entry ``key``; its ValueError becomes an EntryError there."""
    try:
        return parse(text)
    except ValueError as error:
        raise EntryError(str(error), key) from error


def scaling(tag: OpcUaTag) -> Callable[[Value], Value | None]:
    """Return raw -> raw * scale + offset, None where that is no number any more; what is no number stays as it is."""

    def scaled(raw: Value) -> Value | None:
        if (tag.scale == 1.0 and tag.offset == 0.0) or isinstance(raw, bool) or not isinstance(raw, int | float):
            return raw
        value = raw * tag.scale + tag.offset
        return value if isfinite(value) else None

    return scaled
