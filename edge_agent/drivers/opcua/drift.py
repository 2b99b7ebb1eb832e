"""A look at a server for people: is it as the configuration says? Reads, and asks what a subscription would get; nothing of it stays.

What is found is noted at once, so that a look that is broken off leaves what it had found.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncua import ua

from edge_agent.drivers.opcua import expiry
from edge_agent.drivers.opcua.alarmsource import node_of_source, sources_of
from edge_agent.drivers.opcua.channel import Secured
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driftgrants import look_at_grants
from edge_agent.drivers.opcua.drifttags import look_at_tags
from edge_agent.drivers.opcua.expand import undeclared
from edge_agent.drivers.opcua.opening import opened
from edge_agent.drivers.opcua.session import CURRENT, MANUFACTURER, PRODUCT, SOFTWARE, STATE, Session, status_text
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.inspection import Inspection
from edge_agent.ports import Identity, PlantClock

_CLOCK: Final = 1.0
"""Seconds by which clocks may differ before a person is told: events of two devices are compared by their times."""

_STATES: Final = ("running", "failed", "no configuration", "suspended", "shutdown", "test", "communication fault", "unknown")
"""ServerState (OPC 10000-5, 12.6)."""


async def inspect(
    configs: Sequence[OpcUaConfig], clock: PlantClock, identity: Identity | None, found: Mapping[str, Inspection]
) -> None:
    """Note in ``found``, by device, how a server with these devices is. Raises ConfigError."""
    try:
        async with opened(configs, clock, identity=identity) as (session, link):
            for config in configs:
                await _look(session, link, config, found[config.device])
    except DisconnectedError as error:
        code = error.fault or "unreachable"
        for config in configs:
            one = found[config.device]
            text = getattr(error, "text", str(error))
            one.say("error", "lost" if one.answered and not error.fault else code, text, remedy=error.remedy or _remedy(text))


def _remedy(text: str) -> str:
    if "BadTooManySessions" in text:
        return "close other clients, or allow more sessions on the server"
    return "" if "the server answers" in text else "is the server on, is the address right, a firewall between?"


async def _look(session: Session, link: Secured, config: OpcUaConfig, one: Inspection) -> None:
    one.answered = True
    _server(session, one)
    _security(link, config, one)
    items = await look_at_tags(session, config, one)
    await look_at_grants(session, config, items, one)
    await _alarms(session, config, one)
    if config.tags_from:
        nodes = {text_of(item.node) for item in items if item.node is not None}
        notice = await undeclared(session, config.device, config.tags_from, nodes, 0)
        if notice.count:
            one.say(
                "warning", "tags_undeclared", notice.detail, remedy="edge-agent browse --add FILE writes them into the device file"
            )


def _server(session: Session, one: Inspection) -> None:
    said = [str(session.facts.get(fact) or "") for fact in (MANUFACTURER, PRODUCT, SOFTWARE)]
    one.facts["server"] = " ".join(text for text in said if text) or None
    one.facts["profile"] = session.profile_name
    state = session.facts.get(STATE)
    if isinstance(state, int) and state:
        name = _STATES[state] if 0 < state < len(_STATES) else str(state)
        one.say(
            "warning",
            "server_state",
            f"the server says that its state is: {name}",
            remedy="look at the server; its values may be old",
        )
    current = session.facts.get(CURRENT)
    if not isinstance(current, int) or current <= 0:
        one.facts["clock_offset_s"] = None
        return
    offset = (current - session.asked_at) / 1e9
    one.facts["clock_offset_s"] = round(offset, 3)
    if abs(offset) > _CLOCK:
        way = "ahead of" if offset > 0 else "behind"
        one.say(
            "warning", "clock_offset", f"the device's clock is {abs(offset):,.1f} s {way} this gateway's",
            remedy="let both follow the same time server",
        )  # fmt: skip


def _security(link: Secured, config: OpcUaConfig, one: Inspection) -> None:
    """Say how the connection is secured, and what of it will be over."""
    if link.server is None:
        one.facts["security"] = {"trusted": None}
        one.say(
            "note",
            "insecure",
            "the connection is not secured (allow_insecure: true)",
            remedy="edge-agent trust, and remove the line",
        )
        return
    facts: dict[str, Any] = {
        "trusted": link.server.why,
        "server_valid_until": f"{link.server.certificate.ends:%Y-%m-%d}",
        "server_sha256": link.server.certificate.thumbprint,
    }
    if link.keys is not None:
        facts["own_valid_until"] = f"{link.keys.certificate.ends:%Y-%m-%d}"
    one.facts["security"] = facts
    if config.username is None and config.user_certificate is None:
        one.say("note", "anonymous", "the server does not know who reads", remedy="give the agent a user with read rights only")
    for each in expiry.findings(link, datetime.now(UTC)):
        one.say("warning" if each.severity >= 300 else "note", each.code, each.text, remedy=each.remedy)


async def _alarms(session: Session, config: OpcUaConfig, one: Inspection) -> None:
    """Say which alarm sources cannot be had: their object is not there, or has no events."""
    for source in sources_of(config):
        where = source.config.source or "the Server object"
        node = await node_of_source(session, source)
        if isinstance(node, str):
            one.say(
                "error", "alarm_source", f"{where}: {node}", tag=source.name, remedy="mend source; edge-agent browse shows the tree"
            )
            continue
        rows = await session.read_ids([ua.ReadValueId(node, ua.AttributeIds.EventNotifier)])
        if rows.status[0] >> 31:
            one.say("error", "alarm_source", f"{where}: {status_text(rows.status[0])}", tag=source.name, remedy="mend source")
        elif not isinstance(rows.values[0], int) or not rows.values[0] & 1:
            one.say(
                "error", "alarm_source", f"{where} has no events to subscribe", tag=source.name,
                remedy="leave source out: the Server object has all events, where the server has any",
            )  # fmt: skip
