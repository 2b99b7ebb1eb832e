"""What a user writes about an OPC UA device. Imports no OPC UA library: the catalogue loads it for every agent."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from edge_agent.drivers.opcua.address import parse_node
from edge_agent.drivers.opcua.alarmconfig import AlarmsFrom
from edge_agent.drivers.opcua.glob import Naming, Pattern
from edge_agent.drivers.opcua.policy import SecurityConfig, complaint
from edge_agent.drivers.opcua.profile import profiles
from edge_agent.drivers.opcua.tagconfig import OpcUaTag
from edge_agent.model.condition import CONDITION
from edge_agent.model.entry import EntryError
from edge_agent.model.hostname import host_name
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import Tag

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
_MS = 1_000_000
_FLOOR = 10 * _MS
_LONGEST = 3_600_000 * _MS
_DEFAULT_PORT = 4840


class TagsFrom(BaseModel):
    """A part of the server's tree whose variables are meant to be tags: where ``edge-agent browse --add`` looks, and each connect compares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    browse: str = Field(description="pattern of browse names below Objects: Line1/**, */Motor?/Speed")
    include: tuple[str, ...] = Field(
        (), description="only paths that match one of these; a single name is compared with the last step"
    )
    exclude: tuple[str, ...] = Field((), description="no paths that match one of these")
    names: Naming = Field("path", description="name of a tag: its whole path, or its leaf alone")
    prefix: str = Field("", max_length=32, description="stands before every name")
    depth: int = Field(10, ge=1, le=50, description="levels below Objects that are looked at")
    max_tags: int = Field(5_000, ge=1, le=50_000, description="most variables that are taken")

    @field_validator("browse", "include", "exclude")
    @classmethod
    def _patterns_parse(cls, patterns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in (patterns,) if isinstance(patterns, str) else patterns:
            Pattern(pattern)
        return patterns


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
    profile: str | None = Field(None, description="how to treat this kind of server; left out, its BuildInfo tells")
    security: SecurityConfig = SecurityConfig()  # type: ignore[call-arg]  # every field has a default
    username: str | None = Field(None, min_length=1, description="user of the server; left out = anonymous")
    password: SecretStr | None = Field(
        None, description="as ${file:/run/credentials/edge-agent.service/NAME} or ${NAME}; only with SignAndEncrypt"
    )
    user_certificate: Path | None = Field(None, description="PEM or DER file of a user certificate, instead of a user name")
    user_key: Path | None = Field(None, description="PEM or DER file of its key; readable by the agent alone")
    timeout: Duration = Field(10_000 * _MS, description="how long one request may take (machine time)")
    keep: Duration = Field(
        30_000 * _MS, description="how long the server shall keep samples while the agent is away (machine time); 0s = not at all"
    )
    history_within: Duration = Field(
        10_000 * _MS, description="how long reading the history may take after an outage; live data of the device wait for it"
    )
    history_rows: int = Field(50_000, ge=1, le=1_000_000, description="most samples of the history, and most live ones that wait")
    tags_from: tuple[TagsFrom, ...] = Field((), description="parts of the server's tree whose variables are meant to be under tags")
    alarms: tuple[AlarmsFrom, ...] = Field((), description="alarms and conditions (OPC 10000-9) that units may tell")
    tags: dict[Name, OpcUaTag] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _tags_are_declared(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("tags_from") and not data.get("tags"):
            text = (
                "tags_from says what is meant, and tags are what is read; `edge-agent browse --add FILE` writes them into this file"
            )
            raise EntryError(text, "tags_from")
        return data

    @field_validator("tags_from", "alarms", mode="before")
    @classmethod
    def _one_is_a_list(cls, rules: object) -> object:
        return (rules,) if isinstance(rules, dict) else rules

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
        host_name(parts.hostname or "")
        return url

    @field_validator("profile")
    @classmethod
    def _profile_exists(cls, profile: str | None) -> str | None:
        if profile is not None and profile not in profiles():
            raise ValueError(f"{profile!r} is no known profile; use one of {', '.join(profiles())}, or leave it out")
        return profile

    @field_validator("keep", "history_within")
    @classmethod
    def _not_for_ever(cls, bound: int) -> int:
        if bound > _LONGEST:
            raise ValueError("a server that keeps samples for more than an hour is a historian; see history")
        return bound

    @field_validator("sampling", "publishing", "timeout")
    @classmethod
    def _not_tiny(cls, interval: int) -> int:
        if interval < _FLOOR:
            raise ValueError("the shortest interval is 10ms")
        return interval

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (unsafe := complaint(self)) is not None:
            raise unsafe
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.boot is not None and self.boot not in self.tags:
            raise EntryError(f"boot: {self.boot} is no tag of this device; add it under tags", "boot")
        if self.namespace is not None and re.fullmatch(r"\d+", self.namespace):
            text = "namespace is a URI, not an index (indexes move when a server restarts); see the server's NamespaceArray"
            raise EntryError(text, "namespace")
        taken = set(self.tags)
        for place, one in enumerate(self.alarms):
            if one.name in taken:
                text = f"alarms: the name {one.name!r} is taken; give this one a name of its own (name: ...)"
                raise EntryError(text, "alarms", place, "name")
            taken.add(one.name)
        for name, tag in self.tags.items():
            if self.namespace is None and tag.node is not None and parse_node(tag.node).namespace is None:
                text = f"tags.{name}.node names no namespace; add namespace: <URI> to the device, or write nsu=<URI>;{tag.node}"
                raise EntryError(text, "tags", name, "node")
        return self


def tags_of(config: OpcUaConfig) -> tuple[Tag, ...]:
    """Return the tags in configuration order, then the alarm sources. ``snapshot`` stays None: a subscription gives no common instant."""
    return value_tags_of(config) + tuple(Tag(config.device, one.name, CONDITION) for one in config.alarms)


def value_tags_of(config: OpcUaConfig) -> tuple[Tag, ...]:
    """Return the tags that are variables."""
    return tuple(
        Tag(
            config.device, name, tag.type, tag.scale, tag.offset, tag.uom,
            config.sampling if tag.sampling is None else tag.sampling, None, tag.acknowledge, tuple(tag.names.items()),
        )
        for name, tag in config.tags.items()
    )  # fmt: skip


def link(config: OpcUaConfig) -> Hashable:
    """Return what devices must have in common to share a connection: never one that is secured otherwise, or of another user."""
    password = config.password.get_secret_value() if config.password is not None else None
    security = config.security.model_dump_json()
    return endpoint(config), config.allow_insecure, security, password, config.user_certificate, config.user_key


def endpoint(config: OpcUaConfig) -> str:
    """Return what devices with one connection have in common: the address with its port, the same for every spelling."""
    parts = urlsplit(config.url)
    host = (parts.hostname or "").lower()
    user = f"{config.username}@" if config.username else ""
    host = f"[{host}]" if ":" in host else host
    return f"opc.tcp://{user}{host}:{parts.port or _DEFAULT_PORT}{parts.path.rstrip('/')}"


def unscaled(config: OpcUaConfig) -> OpcUaConfig:
    """Return the device with its tags as the server has them: no scale, no offset, no deadband, no comparing with the server's tree, no alarms."""
    plain = {"scale": 1.0, "offset": 0.0, "deadband": None}
    tags = {name: tag.model_copy(update=plain) for name, tag in config.tags.items()}
    return config.model_copy(update={"tags": tags, "tags_from": (), "alarms": ()})
