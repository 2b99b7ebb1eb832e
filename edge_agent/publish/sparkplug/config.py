"""What a user writes about a Sparkplug output."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_agent.model.quantity import Duration
from edge_agent.publish.reach import ReachConfig

_MS = 1_000_000

Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^+#/\x00-\x1f]+$")]
"""A Sparkplug id as it stands in topics."""


class SparkplugConfig(ReachConfig):
    """An output to a SCADA system by Sparkplug B 3.0, on a connection of its own: the agent is an edge node, each work unit a device."""

    profile: Literal["sparkplug"]
    group: Identifier | None = Field(None, description="Sparkplug group; default: the levels of site, joined by _")
    node: Identifier | None = Field(None, description="Sparkplug edge node; default: the agent's id")
    primary_host: Identifier | None = Field(
        None,
        description="host id of the one SCADA system that must be online before anything is sent; while it is not, values wait",
    )
    aliases: bool = Field(False, description="true: numbers instead of names in every message after the birth")
    report: Duration = Field(250 * _MS, ge=20 * _MS, description="how often changes are gathered into a message")
    backlog: int = Field(
        100, ge=1, le=5000, strict=True, description="events of a unit that are told in one message when a backlog goes out"
    )
