"""``edge-agent schema``: JSON Schema of the configuration files, from the models themselves."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from edge_agent.cli.asyncapi import document
from edge_agent.config.schema import AgentConfig, AgentFile
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.events.catalog import UnitConfig
from edge_agent.events.schemas import bundle
from edge_agent.replay.mapping import MappingFile
from edge_agent.status import presence

_ROOTS: dict[str, Any] = {"agent": AgentFile, "device": DeviceConfig, "unit": UnitConfig, "test": MappingFile}


def schema(what: str) -> str:
    """Return the schema of ``agent``, ``device``, ``unit`` or ``test``, those of all ``events``, or that of the retained ``status``, as indented JSON text."""
    if what == "status":
        return json.dumps(presence.schema(), indent=2, sort_keys=True) + "\n"
    if what == "events":
        return json.dumps(bundle(), indent=2, sort_keys=True) + "\n"
    made = TypeAdapter(_ROOTS[what]).json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **made}, indent=2, sort_keys=True) + "\n"


def asyncapi(config: AgentConfig) -> str:
    """Return what ``config`` publishes and hears as an AsyncAPI 3.0 document, indented JSON text."""
    return json.dumps(document(config), indent=2) + "\n"
