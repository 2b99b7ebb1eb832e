"""One tag of a device on its way from an address to a monitored item, and the way back when the node vanishes.

::

    resolving --node found, item created--> active
        |  ^                                  |
        |  '------ retry with back-off -------|
        '--address or item refused--> bad <---' status says that the node is gone
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections.abc import Sequence
from typing import Final, Literal

import structlog
from asyncua import ua

from edge_agent.drivers.opcua.address import NodeAddress, Step, parse_node, parse_path
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.pace import Asked, Pace, sampling
from edge_agent.drivers.opcua.prepare import prepare, take_parts
from edge_agent.drivers.opcua.resolve import node_of, translate
from edge_agent.drivers.opcua.session import Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.tagconfig import OpcUaTag
from edge_agent.drivers.opcua.typebook import TypeBook
from edge_agent.drivers.opcua.wire import Created
from edge_agent.model.reading import Tag

NODE_GONE: Final = frozenset({
    ua.StatusCodes.BadNodeIdUnknown, ua.StatusCodes.BadNodeIdInvalid, ua.StatusCodes.BadAttributeIdInvalid,
    ua.StatusCodes.BadNodeClassInvalid, ua.StatusCodes.BadMonitoredItemIdInvalid,
    ua.StatusCodes.BadDecodingError, ua.StatusCodes.BadResponseTooLarge, ua.StatusCodes.BadEncodingLimitsExceeded,
})  # fmt: skip
NO_FILTER: Final = frozenset({
    ua.StatusCodes.BadMonitoredItemFilterUnsupported, ua.StatusCodes.BadMonitoredItemFilterInvalid, ua.StatusCodes.BadFilterNotAllowed,
    ua.StatusCodes.BadDeadbandFilterInvalid,
})  # fmt: skip

_log = structlog.get_logger()


class Item:
    """A tag and what is known about it at the server now. ``handle`` is its index in the device's tags and its client handle.

    ``keep`` is for how many machine ms the server shall keep its samples while nobody asks for them.
    """

    def __init__(self, handle: int, tag: Tag, config: OpcUaTag) -> None:
        self.handle = handle
        self.tag = tag
        self.address: NodeAddress | tuple[Step, ...] = parse_node(config.node) if config.node else parse_path(config.path or "")
        self.deadband = config.deadband
        self.band = None if config.deadband is None else config.deadband / abs(tag.scale)
        """The deadband in the server's own values, whether or not the server takes it."""
        self.pick = config.pick
        self.index_range: str | None = None
        self.types: TypeBook | None = None
        self.node: ua.NodeId | None = None
        self.monitored: int | None = None
        self.polled = False
        self.state: Literal["resolving", "active", "bad"] = "resolving"
        self.detail = ""
        self.retry_at = 0.0
        self.keep = 0.0
        self._delay = 0.0

    def failed(self, detail: str, now: float, pace: Pace) -> bool:
        """Set the item aside until its next try; returns whether this is news."""
        self._delay = min(max(2 * self._delay, pace.retry_first), pace.retry_most)
        self.retry_at = now + self._delay
        news = self.state != "bad"
        self.state, self.detail = "bad", detail
        return news

    def works(self, monitored: int) -> None:
        """Take note that the server monitors the item."""
        self.monitored, self.polled, self.state, self.detail, self._delay = monitored, False, "active", "", 0.0

    def polls(self) -> None:
        """Take note that the item is read again and again, because the server does not sample it."""
        self.monitored, self.polled, self.state, self.detail, self._delay = None, True, "active", "", 0.0

    def request(self, publishing: float, speed: float) -> ua.MonitoredItemCreateRequest:
        """Return what to ask the server for, with the deadband where the tag has one."""
        asked = sampling(self.tag.period, publishing, speed, self.keep)
        params = ua.MonitoringParameters(self.handle, asked.sampling_ms, QueueSize=asked.queue, DiscardOldest=True)
        if self.deadband is not None:
            # The server compares raw values, the user writes scaled ones.
            params.Filter = ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute, self.band)
        return ua.MonitoredItemCreateRequest(self.value_id, ua.MonitoringMode.Reporting, params)

    @property
    def value_id(self) -> ua.ReadValueId:
        """What the server is asked for: the value, or the part of an array where the server cuts it."""
        return ua.ReadValueId(self.node, ua.AttributeIds.Value, self.index_range)


async def resolve(session: Session, items: Sequence[Item], config: OpcUaConfig) -> None:
    """Find the node of each item as the server numbers its namespaces now; an item without one says why in ``detail``."""
    paths: list[tuple[Item, tuple[Step, ...]]] = []
    for item in items:
        item.node, item.detail = None, ""
        if isinstance(item.address, NodeAddress):
            try:
                item.node = node_of(session, item.address, config.namespace)
            except LookupError as error:
                item.detail = str(error)
        else:
            paths.append((item, item.address))
    found = await translate(session, [path for _, path in paths], config.namespace)
    for (item, _), node in zip(paths, found, strict=True):
        if isinstance(node, str):
            item.detail = node
        else:
            item.node = node
    await prepare(session, items)


async def monitor(session: Session, subscription: int, items: Sequence[Item], publishing: float, speed: float) -> list[str | None]:
    """Create the monitored items; returns None for each that works, else what the server said.

    Where the server refuses a deadband, the item is created without: more data is better than none.
    """
    said = await _create(session, subscription, items, publishing, speed)
    again = [item for item, code in zip(items, said, strict=True) if code in NO_FILTER and item.deadband is not None]
    for item in again:
        item.deadband = None
    repaired = dict(
        zip([item.handle for item in again], await _create(session, subscription, again, publishing, speed), strict=True)
    )
    final = [repaired.get(item.handle, code) for item, code in zip(items, said, strict=True)]
    return [status_text(code) if code >> 31 else None for code in final]


async def _create(session: Session, subscription: int, items: Sequence[Item], publishing: float, speed: float) -> list[int]:
    results = await session.monitor(subscription, [item.request(publishing, speed) for item in items]) if items else []
    for item, result in zip(items, results, strict=True):
        if not result.status >> 31:
            item.works(result.number)
    _compare([sampling(item.tag.period, publishing, speed, item.keep) for item in items], results, items)
    return [result.status for result in results]


def _compare(asked: Sequence[Asked], given: Sequence[Created], items: Sequence[Item]) -> None:
    """Say once for all items when the server gives clearly less than was asked for: slower samples, or a shorter queue."""
    less = [
        (item.tag.name, wish, result)
        for item, wish, result in zip(items, asked, given, strict=True)
        if not result.status >> 31 and (result.sampling > 1.5 * wish.sampling_ms or result.queue < wish.queue)
    ]
    if less:
        name, wish, result = max(less, key=lambda one: one[2].sampling / one[1].sampling_ms)
        _log.info(
            "opcua.revised", tags=len(less), worst=name, sampling_ms=wish.sampling_ms, revised_ms=result.sampling,
            queue=wish.queue, revised_queue=result.queue,
        )  # fmt: skip


async def read(session: Session, items: Sequence[Item], *, whole: bool = False) -> Columns:
    """Read the items now, one row for each in their order; an item without a node gives a bad row. ``whole`` = one request."""
    known = [item for item in items if item.node is not None]
    rows = (
        await session.read_ids([item.value_id for item in known], [item.handle for item in known], whole=whole)
        if known
        else Columns()
    )
    take_parts(rows, {item.handle: item for item in known if item.pick is not None})
    if len(known) == len(items):
        return rows
    by_handle = {handle: row for row, handle in enumerate(rows.handles)}
    out = Columns()
    for item in items:
        row = by_handle.get(item.handle)
        if row is None:
            out.append(item.handle, status=ua.StatusCodes.BadNodeIdUnknown)
        else:
            out.copy_row(rows, row)
    return out
