"""Context that an MES names over MQTT: what a topic is asked, and what of its messages is believed.

Whoever may write to the topic decides what parts are booked to, so a message is small, plain text or one member of a JSON object, and printable; anything
else leaves what is known. It becomes a sample of a device that does not exist: so it keeps its place in the order of the data, is stored with the unit, and is
what was known last while the broker is away. It reaches no PLC: nothing here can be written anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge_agent.model.outside import from_json
from edge_agent.model.reading import Tag

DEVICE: Final = "(mqtt)"
"""The device that stands for the MES in a unit; no name of a real one looks so."""

LARGEST: Final = 2_048
"""Bytes of a message; an order's name needs a few dozen."""

_TOPIC = r"^[^+#\x00]{1,512}$"  # a topic name, no filter (MQTT 5, 4.7.1 and 4.7.3)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffd]{0,64}")


class MqttTopic(BaseModel):
    """A topic that the MES keeps a retained message on: ``{mqtt: acme/mes/line3/order, member: id}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mqtt: str = Field(
        pattern=_TOPIC, description="the topic, without wildcards; what is retained there counts as well as what comes"
    )
    member: str | None = Field(
        default=None,
        max_length=64,
        description="the member of the JSON object that names it; left out = the message is the text itself",
    )
    pattern: str = Field(default=r".*", max_length=200, description="a regular expression that the whole name has to match")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression ({error}); write one such as WO-[0-9]+") from error
        return pattern


class RefusedContextError(ValueError):
    """A message that is not believed, and why."""


def name_in(payload: bytes, source: MqttTopic) -> str:
    """Return what a message names, an empty text for none (an empty message is a retained one that was deleted). Raises RefusedContextError."""
    if len(payload) > LARGEST:
        raise RefusedContextError(f"it has {len(payload)} bytes, and at most {LARGEST} are looked at")
    name = _member(payload, source.member) if source.member is not None and payload else _text(payload)
    name = name.strip()
    if _NAME.fullmatch(name) is None:
        raise RefusedContextError("it is longer than 64 characters or holds characters that cannot be printed")
    if name and re.fullmatch(source.pattern, name) is None:
        raise RefusedContextError(f"'{name}' does not match the pattern {source.pattern}")
    return name


def _text(payload: bytes) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedContextError("it is not UTF-8") from error


def _member(payload: bytes, member: str) -> str:
    try:
        content: dict[str, Any] = from_json(payload, dict)
    except ValueError as error:
        raise RefusedContextError("it is no JSON object") from error
    if member not in content:
        raise RefusedContextError(f"it has no member '{member}'")
    value = content[member]
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RefusedContextError(f"its member '{member}' is neither text nor a whole number")
    return str(value)


class Topics(msgspec.Struct, frozen=True):
    """What one unit listens to: each context member's topic, in the order in which a batch of `DEVICE` indexes them."""

    sources: tuple[tuple[str, MqttTopic], ...] = ()

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The tags of `DEVICE`, one a member."""
        return tuple(Tag(DEVICE, member, "string") for member, _ in self.sources)

    def on(self, topic: str) -> Iterator[tuple[int, MqttTopic]]:
        """Yield the members that ``topic`` names, by index."""
        return ((i, source) for i, (_, source) in enumerate(self.sources) if source.mqtt == topic)
