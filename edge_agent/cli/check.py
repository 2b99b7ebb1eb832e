"""``edge-agent check``: every problem of a configuration at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_agent.config.load import InvalidConfigError, load
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers.catalog import tags_of
from edge_agent.model.errors import DisconnectedError
from edge_agent.publish import tls


def check(directory: Path, *, as_json: bool) -> int:
    """Print what is wrong, or a summary of what is right; return the exit code."""
    try:
        config = load(directory)
    except InvalidConfigError as invalid:
        if as_json:
            print(json.dumps({"ok": False, "problems": [problem.as_dict() for problem in invalid.problems]}, indent=2))
        else:
            print(invalid, file=sys.stderr)
        return 1
    warnings = _warnings(config)
    tags = sum(len(tags_of(device)) for device in config.devices)
    if as_json:
        print(
            json.dumps(
                {
                    "ok": True,
                    "devices": len(config.devices),
                    "tags": tags,
                    "units": len(config.units),
                    "cfg": config.fingerprint,
                    "warnings": warnings,
                }
            )
        )
    else:
        for warning in warnings:
            print(f"{directory}: warning: {warning}", file=sys.stderr)
        print(
            f"{directory}: {'no mistakes, but see the warnings' if len(warnings) > 1 else 'no mistakes, but see the warning' if warnings else 'fine'}. {len(config.devices)} devices, {tags} tags, {len(config.units)} work units, fingerprint {config.fingerprint}"
        )
    return 0


def _warnings(config: AgentConfig) -> list[str]:
    """Return what is allowed and hardly meant, each with its remedy."""
    warnings = []
    if not config.devices:
        warnings.append(
            "nothing is collected: there is no device; put one into devices/ beside agent.yaml, or under `devices:` in it"
        )
    warnings += config.cautions
    mqtt = config.agent.mqtt
    try:
        if mqtt.password_file is not None:
            tls.password(mqtt.password_file)
        if mqtt.tls is not None:
            tls.context(mqtt.tls)
    except DisconnectedError as error:
        warnings.append(f"mqtt: {error} (as this user on this machine; without it the agent waits, unconnected)")
    return warnings
