"""``edge-agent schema``: JSON Schema of the configuration files, from the models themselves."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from edge_agent.config.schema import AgentFile
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.events.catalog import UnitConfig
from edge_agent.replay.mapping import MappingFile

_ROOTS: dict[str, Any] = {"agent": AgentFile, "device": DeviceConfig, "unit": UnitConfig, "test": MappingFile}


def schema(what: str) -> str:
    """Return the schema of ``agent``, ``device``, ``unit`` or ``test`` as indented JSON text."""
    document = TypeAdapter(_ROOTS[what]).json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **document}, indent=2, sort_keys=True) + "\n"
