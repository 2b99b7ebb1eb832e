"""JSON Schema 2020-12 of every event type's ``data``: one file a type, ``<name>.json`` beside this one. A new type is a new file.

``$id`` ends with ``name:major.minor``. Inside a major members are only ever added, and all are open: a consumer ignores what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

COMMON = "common"
"""The members that every type has."""


@cache
def schemas() -> Mapping[str, dict[str, Any]]:
    """Return all schemas by type name (``production.count``), and the `COMMON` one."""
    found = sorted((file for file in files(__name__).iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return MappingProxyType({file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8")) for file in found})


@cache
def versions() -> Mapping[str, str]:
    """Return the version (``1.0``) of every type's schema, as ``dataschema`` names it."""
    return MappingProxyType({name: str(schema["$id"]).rpartition(":")[2] for name, schema in schemas().items() if name != COMMON})


def bundle() -> dict[str, Any]:
    """Return one document with every schema under ``$defs``, as a validator takes it without a network."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:edge-agent:schema:events",
        "title": "data of every event of edge-agent, by type",
        "$defs": dict(schemas()),
    }
