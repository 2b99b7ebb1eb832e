"""The items of one device and what is known of them: created, refused, polled, lost. What acquisition and returning both stand on."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog
from asyncua import ua

from edge_agent.drivers.opcua import facts
from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua.alarms import AlarmFeed
from edge_agent.drivers.opcua.alarmsource import sources_of
from edge_agent.drivers.opcua.comeback import Comeback
from edge_agent.drivers.opcua.config import OpcUaConfig, tags_of, value_tags_of
from edge_agent.drivers.opcua.convert import quality_of
from edge_agent.drivers.opcua.floors import Floors
from edge_agent.drivers.opcua.inbox import Inbox, Receipt
from edge_agent.drivers.opcua.item import NODE_GONE, Item
from edge_agent.drivers.opcua.pace import Pace, publishing_ms
from edge_agent.drivers.opcua.poll import Poller
from edge_agent.drivers.opcua.prepare import misfits, take_parts
from edge_agent.drivers.opcua.report import Reporter
from edge_agent.drivers.opcua.session import NOT_SUBSCRIBED, Session, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import PublishLoop
from edge_agent.drivers.opcua.track import Track
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Polled, Quality, TagStatus
from edge_agent.ports import DeviceWiring, PlantClock

_NAMED: Final = 20
"""How many tags a notice names; the rest is counted."""

NOT_SUBSCRIBED_NAMES: Final = frozenset(status_text(code) for code in NOT_SUBSCRIBED)


class Endpoint(NamedTuple):
    """What the devices of one connection share."""

    session: Session
    loop: PublishLoop
    inbox: Inbox
    clock: PlantClock
    pace: Pace


def unreadable(rows: Columns) -> dict[int, str]:
    """Return the handles whose Read says that there is no such node or that its value cannot be had, and what it said."""
    return {
        handle: status_text(status)
        for handle, status in zip(rows.handles, rows.status, strict=True)
        if status and status & 0xFFFF_0000 in NODE_GONE
    }


class Members:
    """The state of one device, and the steps that change its items."""

    def __init__(self, config: OpcUaConfig, wiring: DeviceWiring, endpoint: Endpoint) -> None:
        self.name = config.device
        self.tags = tags_of(config)
        self.items = [Item(i, tag, config.tags[tag.name]) for i, tag in enumerate(value_tags_of(config))]
        self.by_name = {item.tag.name: item for item in self.items}
        self._parts = {item.handle: item for item in self.items if item.pick is not None}
        self._config = config
        self._session, self._loop, self._inbox, self._clock, self._pace = endpoint
        boot = self.by_name[config.boot].handle if config.boot else None
        self._reporter = Reporter(self.tags, boot, self._clock, self._inbox, status_text)
        self._floors = Floors()
        self._unreadable: dict[int, str] = {}
        self._poller = Poller(self._session, len(self.items), self._clock.speed, self.polled)
        self._groups = {group.name: group for group in wiring.triggers}
        self._triggers: dict[int, list[str]] = {}
        self._check_names(wiring)
        for group in wiring.triggers:
            self._triggers.setdefault(self.by_name[group.trigger].handle, []).append(group.name)
        self._seen: dict[int, object] = {}
        self._fired: dict[str, None] = {}
        self._fire, self._wake = asyncio.Event(), asyncio.Event()
        self._resync = False
        self._keep = config.keep / 1e6 if wiring.returns else 0.0
        for item in self.items:
            item.keep = self._keep
        self._wiring = wiring
        self._histories = [item for item in self.items if config.tags[item.tag.name].history]
        watched = frozenset(item.handle for item in self._histories)
        self._signed = facts.signature(config, self.items)
        self._track = Track(self._signed, wiring.returns and bool(self._keep or watched), watched)
        self._described: object = None
        self._comeback: Comeback | None = None
        self._held: list[Callable[[], None]] | None = None
        self._held_rows = 0
        self._enough, self._heard = asyncio.Event(), asyncio.Event()
        self._publishing = publishing_ms(config.publishing, self._clock.speed)
        self._subscription, self._keep_alive = 0, 0.0
        self.alarms = AlarmFeed(sources_of(config), self.name, self._publishing)
        self.alarms.attach(*endpoint)
        self._log = structlog.get_logger().bind(device=self.name)

    def _check_names(self, wiring: DeviceWiring) -> None:
        """Raise ConfigError when units ask for tags that the device does not have."""
        asked = {name for group in wiring.triggers for name in (group.trigger, *group.tags)} | wiring.acknowledge
        if missing := sorted(asked - set(self.by_name)):
            raise ConfigError(
                f"{self.name} has no tag {', '.join(missing)}, which a unit asks for; add it under tags or mend the unit"
            )

    # -- what arrives --------------------------------------------------------------------------------------------

    def polled(self, rows: Columns) -> None:
        """Take the rows of one poll."""
        self.notified(rows, None)

    def notified(self, rows: Columns, receipt: Receipt | None) -> None:
        """Take the rows of one notification message."""
        raise NotImplementedError

    def resync(self) -> None:
        """Read all items anew soon, and have all alarms told again: something may have been lost."""
        self._resync = True
        self.alarms.resync()
        self._wake.set()

    def _own(self, rows: Columns) -> Columns:
        """Take out the rows that are no tags: the server's state, and handles that this device never gave out."""
        tags = len(self.items)
        if max(rows.handles, default=0) < tags:
            return rows
        for handle, value in zip(rows.handles, rows.values, strict=True):
            if handle == tags and self._reporter.server_state(value):
                self.resync()
        return rows.select([row for row, handle in enumerate(rows.handles) if handle < tags])

    def _taken(self, rows: Columns) -> Columns:
        """Return the rows that are tags, parts taken out of their values."""
        rows = self._own(rows)
        take_parts(rows, self._parts)
        return rows

    def _until(self) -> float:
        """Return the machine time by which every sample older than a Read of now has arrived."""
        return asyncio.get_running_loop().time() + 2 * self._publishing / 1000 + 1.0

    def _look_at_trigger(self, rows: Columns, handle: int, names: Sequence[str]) -> None:
        for row, number in enumerate(rows.handles):
            if number == handle and quality_of(rows.status[row]) is not Quality.BAD and rows.values[row] != self._seen.get(handle):
                self._seen[handle] = rows.values[row]
                self._fired.update(dict.fromkeys(names))
                self._fire.set()

    # -- items that come and go ----------------------------------------------------------------------------------

    async def _monitor(self, items: Sequence[Item]) -> list[Item]:
        """Create the monitored items; declares the failures and returns those that now work."""
        known = [item for item in items if item.node is not None and item.handle not in self._unreadable]
        if self._poller.instead:
            said: list[str | None] = [self._poller.instead] * len(known)
        else:
            said = await items_of.monitor(self._session, self._subscription, known, self._publishing, self._clock.speed)
        failures = {item.handle: why for item, why in zip(known, said, strict=True) if why is not None}
        refused = [item for item in known if failures.get(item.handle) in NOT_SUBSCRIBED_NAMES]
        if refused:
            await self._poll(refused, failures[refused[0].handle])
        failures = {handle: why for handle, why in failures.items() if not self.items[handle].polled} | self._unreadable
        self._set_aside(
            [
                (item, item.detail if item.node is None else failures[item.handle])
                for item in items
                if item.node is None or item.handle in failures
            ]
        )
        return [item for item in known if item.handle not in failures]

    async def _poll(self, items: Sequence[Item], why: str) -> None:
        """Read items again and again that the server does not subscribe, and say which."""
        await self._poller.add(items)
        self._tell_polled(f"the server does not sample them: {why}")

    def _tell_polled(self, detail: str) -> None:
        """Say which tags are polled now."""
        names = [item.tag.name for item in self._poller.items]
        if names:
            self._log.warning("opcua.polled", tags=len(names), first=names[:_NAMED], reason=detail)
        self._reporter.put(Columns(), after=[Polled(self.name, self._clock.now(), tuple(names[:_NAMED]), len(names), detail)])

    def _vanished(self, rows: Columns) -> list[tuple[Item, str]]:
        """Return the active items whose status says that their node is no longer there, or whose structure is another one now."""
        if self._parts and (other := [(self.items[handle], why) for handle, why in misfits(rows)]):
            return [(item, why) for item, why in other if item.state == "active"]
        if not any(rows.status):
            return []
        gone = [
            (self.items[handle], status)
            for handle, status in zip(rows.handles, rows.status, strict=True)
            if status & 0xFFFF_0000 in NODE_GONE
        ]
        return [(item, status_text(status)) for item, status in gone if item.state == "active"]

    def _tag_lost(self, item: Item, why: str) -> TagStatus | None:
        """Set an item aside; returns the notice when this is news."""
        self._floors.forget(item.handle)
        if not item.failed(why, asyncio.get_running_loop().time(), self._pace):
            return None
        self._log.warning("opcua.tag_lost", tag=item.tag.name, reason=why)
        self._wake.set()
        return TagStatus(self.name, self._clock.now(), item.tag.name, False, why)

    def _set_aside(self, failed: Sequence[tuple[Item, str]]) -> None:
        """Declare the items that cannot be had: a notice for each that is news, and a bad row where the baseline had none."""
        rows, notices = Columns(), []
        for item, why in failed:
            notice = self._tag_lost(item, why)
            if notice is not None:
                notices.append(notice)
                if item.node is not None:
                    rows.append(item.handle, status=ua.StatusCodes.BadNodeIdUnknown)
        if notices:
            self._reporter.put(rows, after=notices, details={item.handle: why for item, why in failed})

    # -- trigger groups ------------------------------------------------------------------------------------------

    async def _read_groups(self) -> None:
        while self._fired:
            name = next(iter(self._fired))
            del self._fired[name]
            wanted = [self.by_name[tag] for tag in self._groups[name].tags]
            with self._floors.reading() as beside:
                rows = beside.newest(await items_of.read(self._session, wanted, whole=True))
            self._floors.raise_to(rows, self._until())
            self._track.read(rows, self._until())
            self._reporter.put(rows, group=name, mark=self._track.mark())
