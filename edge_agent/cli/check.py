"""``edge-agent check``: every problem of a configuration at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.cli.connect import document, inspect, show
from edge_agent.cli.words import many, plain
from edge_agent.config.load import InvalidConfigError, load
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers.catalog import tags_of
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.model.condition import CONDITION
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.tls import tls_context
from edge_agent.publish import tls
from edge_agent.status.otelconfig import read_headers, require_extra

if TYPE_CHECKING:
    from edge_agent.cli.askbroker import BrokerAnswer

EXIT_CONFIG = 78


def check(directory: Path, *, as_json: bool, connect: bool = False) -> int:
    """Print what is wrong, or a summary of what is right; return the exit code. ``connect``: ask every device, too."""
    try:
        config = load(directory)
    except InvalidConfigError as invalid:
        if as_json:
            print(json.dumps({"ok": False, "problems": [problem.as_dict() for problem in invalid.problems]}, indent=2))
        else:
            print(invalid, file=sys.stderr)
        return EXIT_CONFIG if connect else 1
    if (missing := _missing(config)) is not None:
        print(json.dumps({"ok": False, "problems": [{"message": missing}]}, indent=2)) if as_json else print(
            missing, file=sys.stderr
        )
        return EXIT_CONFIG
    warnings = _warnings(config)
    found = inspect(config) if connect else None
    broker = _broker(config) if connect else None
    ok = all(one.ok for one in found or ()) and (broker is None or broker.ok)
    tags = sum(len(tags_of(device)) for device in config.devices)
    if as_json:
        print(
            json.dumps(
                {
                    "ok": ok,
                    "devices": len(config.devices),
                    "tags": tags,
                    "units": len(config.units),
                    "cfg": config.fingerprint,
                    "warnings": warnings,
                }
                | ({} if found is None else {"inspections": [document(one) for one in found]})
                | ({} if broker is None else {"broker": broker._asdict() | {"ok": broker.ok}}),
                indent=None if found is None else 2,
            )
        )
    else:
        for warning in warnings:
            print(f"{directory}: warning: {warning}", file=sys.stderr)
        print(
            f"{directory}: {'no mistakes, but see the warnings' if len(warnings) > 1 else 'no mistakes, but see the warning' if warnings else 'fine'}. {many(len(config.devices), 'device')}, {many(tags, 'tag')}, {many(len(config.units), 'work unit')}, fingerprint {config.fingerprint}"
        )
        show(found or ())
        if broker is not None:
            print(plain(f"broker {broker.url}: {broker.problem or 'ok'}"))
    return int(not ok)


def _broker(config: AgentConfig) -> BrokerAnswer:
    """Ask the broker; what that needs is not there on every machine where files are checked."""
    from edge_agent.cli.askbroker import ask

    return ask(config)


def _warnings(config: AgentConfig) -> list[str]:
    """Return what is allowed and hardly meant, each with its remedy."""
    warnings = []
    if not config.devices:
        warnings.append(
            "nothing is collected: there is no device; put one into devices/ beside agent.yaml, or under `devices:` in it"
        )
    warnings += config.cautions
    warnings += _alarms(config)
    warnings += _printed(config)
    mqtt = config.agent.mqtt
    try:
        if mqtt.password_file is not None:
            tls.password(mqtt.password_file)
        if mqtt.tls is not None:
            tls_context(mqtt.tls)
    except DisconnectedError as error:
        warnings.append(f"mqtt: {error} (as this user on this machine; without it the agent waits, unconnected)")
    return warnings + _headers(config)


def _missing(config: AgentConfig) -> str | None:
    """Return which packages the configuration wants and nobody has installed here; None when there are all."""
    try:
        if config.agent.otel is not None:
            require_extra()
    except ConfigError as error:
        return str(error)
    return None


def _headers(config: AgentConfig) -> list[str]:
    """Return what is wrong with the headers for the collector."""
    try:
        read_headers(None if config.agent.otel is None else config.agent.otel.headers_file)
    except ConfigError as error:
        return [f"otel: {error} (as this user on this machine; without it nothing is exported)"]
    return []


def _printed(config: AgentConfig) -> list[str]:
    """Return the Modbus devices whose addresses look like numbers of a vendor's table (40011) instead of addresses (10)."""
    warnings = []
    for device in config.devices:
        if isinstance(device, ModbusConfig):
            firsts = {"holding": 40_001, "input": 30_001}
            printed = [
                f"{name} ({tag.address})"
                for name, tag in device.tags.items()
                if tag.address is not None and 0 <= tag.address - firsts.get(tag.register_ or "", 1 << 17) < 9_999
            ]
            if printed:
                warnings.append(
                    f"{device.device}: {', '.join(printed[:3])}{' and more' * (len(printed) > 3)}: an address like a number of the vendor's "
                    "table; write ref: instead of address: when it is one; when the address is meant (SunSpec), nothing is wrong"
                )
    return warnings


def _alarms(config: AgentConfig) -> list[str]:
    """Return the alarm sources that nobody tells, and those that several units tell whole."""
    sources = [tag.ref for device in config.devices for tag in tags_of(device) if tag.type == CONDITION]
    entries = [(unit.unit, entry) for unit in config.units for entry in unit.alarms.values() if entry.conditions is not None]
    warnings = []
    for ref in sources:
        units = [unit for unit, entry in entries if entry.conditions == ref]
        whole = [unit for unit, entry in entries if entry.conditions == ref and not entry.sources]
        if not units:
            warnings.append(
                f"{ref} is an alarm source that no unit tells; name it as conditions under a unit's alarms, or remove it"
            )
        elif len(whole) > 1:
            warnings.append(f"every alarm of {ref} is told by {' and by '.join(whole)}; give each unit its sources")
    return warnings
