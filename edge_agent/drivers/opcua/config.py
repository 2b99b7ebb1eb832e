"""What a user writes about an OPC UA device. Imports no OPC UA library: the catalogue loads it for every agent."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from edge_agent.drivers.opcua.address import parse_node, parse_path
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import Tag

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
ValueType = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string"
]  # fmt: skip

_MS = 1_000_000
_FLOOR = 10 * _MS
_DEFAULT_PORT = 4840


class OpcUaTag(BaseModel):
    """One variable of the server. Exactly one of ``node`` (a node id) and ``path`` (browse names below Objects)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str | None = Field(None, description="node id: s=Name, i=1234, ns=2;s=Name or nsu=urn:vendor;s=Name")
    path: str | None = Field(None, description="browse path: Objects/2:Line/2:Speed or Objects/nsu=urn:vendor;Line")
    type: ValueType | None = Field(None, description="the type the value must have; left out, the server tells")
    scale: Annotated[float, Field(allow_inf_nan=False)] = Field(1.0, description="value = raw * scale + offset")
    offset: Annotated[float, Field(allow_inf_nan=False, description="added after scaling")] = 0.0
    uom: str | None = Field(None, description="unit of measure (UN/CEFACT code or symbol)")
    deadband: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="smallest change reported, in scaled units"
    )
    sampling: Duration | None = Field(None, description="sampling interval of this tag; default: the device's")
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.node is None) == (self.path is None):
            raise ValueError("give exactly one of node (a node id) and path (browse names)")
        if self.scale == 0:
            raise ValueError("scale 0 makes every value the same; leave it out or give the factor")
        if self.type in {"bool", "string"} and (self.scale != 1.0 or self.offset != 0.0 or self.deadband is not None):
            raise ValueError(f"a {self.type} has no scale, offset or deadband; leave them out")
        if self.acknowledge and self.type is None:
            raise ValueError(
                "an acknowledge tag needs its type, because it is written; add type: uint32 (or what the PLC declares)"
            )
        if self.acknowledge and (self.scale != 1.0 or self.offset != 0.0):
            raise ValueError("an acknowledge tag is written as it is; leave out scale and offset")
        return self


class OpcUaConfig(BaseModel):
    """One OPC UA device: where it is, how often it is sampled, and its tags."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1]
    device: Name
    driver: Literal["opcua"]
    url: str = Field(description="opc.tcp://host[:4840][/path]")
    namespace: str | None = Field(None, description="namespace URI of all addresses below that name none")
    sampling: Duration = Field(100 * _MS, description="how often the server samples a value")
    publishing: Duration = Field(100 * _MS, description="how often the server sends what it sampled")
    boot: str | None = Field(None, description="the tag that changes when the PLC restarts")
    allow_insecure: bool = Field(False, description="connect without encryption (security policy None)")
    username: str | None = None
    password: SecretStr | None = None
    timeout: Duration = Field(10_000 * _MS, description="how long one request may take (machine time)")
    tags: dict[Name, OpcUaTag] = Field(min_length=1)

    @field_validator("url")
    @classmethod
    def _url_parses(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            bad = parts.scheme != "opc.tcp" or not parts.hostname or parts.port == 0
        except ValueError:
            bad = True
        if bad:
            raise ValueError(f"{url!r} is not an OPC UA address; write opc.tcp://host:4840")
        if "@" in parts.netloc:
            raise ValueError("the url carries a user; write username and password as keys of their own")
        return url

    @field_validator("sampling", "publishing", "timeout")
    @classmethod
    def _not_tiny(cls, interval: int) -> int:
        if interval < _FLOOR:
            raise ValueError("the shortest interval is 10ms")
        return interval

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.username is not None or self.password is not None:
            raise ValueError("a password over an unencrypted connection is readable by anyone; leave out username and password")
        if not self.allow_insecure:
            raise ValueError(
                "this version speaks OPC UA without encryption only (security policy None); "
                "add allow_insecure: true if the network between gateway and PLC is trusted"
            )
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.boot is not None and self.boot not in self.tags:
            raise ValueError(f"boot: {self.boot} is no tag of this device; add it under tags")
        if self.namespace is not None and re.fullmatch(r"\d+", self.namespace):
            raise ValueError(
                "namespace is a URI, not an index (indexes move when a server restarts); see the server's NamespaceArray"
            )
        for name, tag in self.tags.items():
            if self.namespace is None and tag.node is not None and parse_node(tag.node).namespace is None:
                raise ValueError(
                    f"tags.{name}.node names no namespace; add namespace: <URI> to the device, or write nsu=<URI>;{tag.node}"
                )
        return self


def tags_of(config: OpcUaConfig) -> tuple[Tag, ...]:
    """Return the tags in configuration order. ``snapshot`` stays None: a subscription gives no common instant."""
    return tuple(
        Tag(
            config.device, name, tag.type, tag.scale, tag.offset, tag.uom,
            config.sampling if tag.sampling is None else tag.sampling, None, tag.acknowledge,
        )
        for name, tag in config.tags.items()
    )  # fmt: skip


def endpoint(config: OpcUaConfig) -> str:
    """Return what devices with one connection have in common: the address with its port, the same for every spelling."""
    parts = urlsplit(config.url)
    host = (parts.hostname or "").lower()
    user = f"{config.username}@" if config.username else ""
    host = f"[{host}]" if ":" in host else host
    return f"opc.tcp://{user}{host}:{parts.port or _DEFAULT_PORT}{parts.path.rstrip('/')}"
