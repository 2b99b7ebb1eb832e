"""One alarm source of a device on its way from the configuration to a monitored item for events."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.address import NodeAddress
from edge_agent.drivers.opcua.alarmconfig import AlarmsFrom, type_address
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.eventfields import Event
from edge_agent.drivers.opcua.eventfilter import event_filter
from edge_agent.drivers.opcua.references import Reference, Ways, references
from edge_agent.drivers.opcua.resolve import node_of, translate
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.typebook import node_of_text, text_of

_SUBTYPES: Final = Ways(ua.ObjectIds.HasSubtype)
_MOST_TYPES: Final = 10_000
_OTHER_FILTER: Final = frozenset({
    ua.StatusCodes.BadEventFilterInvalid, ua.StatusCodes.BadMonitoredItemFilterInvalid, ua.StatusCodes.BadTypeDefinitionInvalid,
    ua.StatusCodes.BadMonitoredItemFilterUnsupported, ua.StatusCodes.BadFilterNotAllowed, ua.StatusCodes.BadContentFilterInvalid,
})  # fmt: skip
"""What a server may say that does not know the types in a select clause."""

_log = structlog.get_logger()


class Source:
    """An entry of ``alarms:``. ``index`` is its place among the device's tags, ``handle`` its number in the subscription."""

    def __init__(self, config: AlarmsFrom, device: OpcUaConfig, handle: int, index: int) -> None:
        self.config, self.device, self.handle, self.index = config, device, handle, index
        self.name = config.name
        self.monitored: int | None = None
        self.trouble = ""
        self.awaited = False
        """Whether the end of a refresh is waited for."""
        self.refreshing = False
        """Whether what comes now is the answer to a refresh."""
        self.spoilt = False
        """Whether something was lost during the refresh."""
        self.types: frozenset[str] | None = None

    @property
    def is_server(self) -> bool:
        """Whether it is the Server object, which tells of refreshes in every stack."""
        return self.config.address in (None, NodeAddress(0, ua.ObjectIds.Server))

    def wants(self, event: Event) -> bool:
        """Whether an event is of a condition, or of a type that is asked for, and of a source and name that are meant."""
        if self.types is not None and event.type not in self.types:
            return False
        if event.condition_id is None and not self.config.events:
            return False
        source, name = event.fields["source"], event.fields["name"]
        return self.config.wants(source if isinstance(source, str) else None, name if isinstance(name, str) else None)


def sources_of(config: OpcUaConfig) -> list[Source]:
    """Return the alarm sources of a device; they stand behind its tags."""
    return [Source(one, config, handle, len(config.tags) + handle) for handle, one in enumerate(config.alarms)]


async def open_sources(session: Session, subscription: int, sources: Sequence[Source]) -> list[tuple[Source, str | None]]:
    """Monitor the events of each source; returns why not, where it cannot be. Raises DisconnectedError."""
    return [(source, await _open(session, subscription, source)) for source in sources]


async def _open(session: Session, subscription: int, source: Source) -> str | None:
    node = await node_of_source(session, source)
    if isinstance(node, str):
        return f"{source.config.source}: {node}"
    source.types = await _types(session, source)
    for plain in (False, True):
        wanted = ua.ReadValueId(node, ua.AttributeIds.EventNotifier)
        params = ua.MonitoringParameters(
            source.handle, 0.0, QueueSize=source.config.queue, DiscardOldest=True, Filter=event_filter(plain=plain)
        )
        (result,) = await session.monitor(
            subscription, [ua.MonitoredItemCreateRequest(wanted, ua.MonitoringMode.Reporting, params)]
        )
        code = result.status
        if not code >> 31:
            source.monitored = result.number
            return None
        if code & 0xFFFF_0000 not in _OTHER_FILTER:
            break
    return f"events of {source.config.source or 'the Server object'} cannot be subscribed: {status_text(code)}"


async def node_of_source(session: Session, source: Source) -> ua.NodeId | str:
    """Return the object of a source as the server numbers it now, or why there is none. Raises DisconnectedError."""
    address, default = source.config.address, source.device.namespace
    if address is None:
        return ua.NodeId(ua.ObjectIds.Server)
    if isinstance(address, NodeAddress):
        try:
            return node_of(session, address, default)
        except LookupError as error:
            return str(error)
    return (await translate(session, [address], default))[0]


async def _types(session: Session, source: Source) -> frozenset[str] | None:
    """Return the types asked for with all their subtypes, as the server numbers them now; None = all."""
    if not source.config.types:
        return None
    level: list[ua.NodeId] = []
    for text in source.config.types:
        try:
            level.append(node_of(session, type_address(text), source.device.namespace))
        except LookupError as error:
            _log.warning("opcua.event_type_unknown", device=source.device.device, type=text, reason=str(error))
    known = {text_of(node) for node in level}
    while level and len(known) < _MOST_TYPES:
        found = await references(session, level, _SUBTYPES)
        level = [node for node in _nodes(session, found) if text_of(node) not in known]
        known.update(text_of(node) for node in level)
    return frozenset(known)


def _nodes(session: Session, found: Sequence[list[Reference] | str]) -> Iterator[ua.NodeId]:
    """Yield the nodes at the other ends, as far as they are on this server."""
    for ways in found:
        for way in ways if isinstance(ways, list) else ():
            with contextlib.suppress(LookupError):
                yield node_of_text(way.node, session.namespaces)
