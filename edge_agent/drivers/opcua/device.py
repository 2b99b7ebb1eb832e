"""One device: baseline, subscription, items that come and go, trigger groups.

The first Read comes before the subscription exists, so values stay monotonic. A later Read (trigger group, values lost
on the way) can be newer than samples still waiting at the server: those are dropped when they arrive (`Floors`).
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import uuid4

import structlog
from asyncua import ua

from edge_agent.drivers.opcua import history, resume
from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua.comeback import Comeback
from edge_agent.drivers.opcua.config import OpcUaConfig, tags_of
from edge_agent.drivers.opcua.convert import quality_of
from edge_agent.drivers.opcua.expand import undeclared
from edge_agent.drivers.opcua.floors import Floors
from edge_agent.drivers.opcua.inbox import Inbox, Receipt
from edge_agent.drivers.opcua.item import NODE_GONE, Item
from edge_agent.drivers.opcua.pace import Pace, counts, publishing_ms
from edge_agent.drivers.opcua.poll import Poller
from edge_agent.drivers.opcua.prepare import misfits, take_parts
from edge_agent.drivers.opcua.report import Reporter
from edge_agent.drivers.opcua.session import CURRENT, NOT_SUBSCRIBED, STARTED, STATE, Session, refusal, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import PublishLoop, following
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import ClockOffset, DeviceUp, Mark, Notice, Polled, Quality, Recovered, TagStatus
from edge_agent.ports import DeviceWiring, PlantClock

_UNSEEN: Final = 1.0
"""Machine seconds between the first Read and the last monitored item from which on what happened in between is declared as unseen."""


_NAMED: Final = 20
"""How many tags a notice names; the rest is counted."""

NOT_SUBSCRIBED_NAMES: Final = frozenset(status_text(code) for code in NOT_SUBSCRIBED)


def _unreadable(rows: Columns) -> dict[int, str]:
    """Return the handles whose Read says that there is no such node or that its value cannot be had, and what it said."""
    return {
        handle: status_text(status)
        for handle, status in zip(rows.handles, rows.status, strict=True)
        if status and status & 0xFFFF_0000 in NODE_GONE
    }


class Endpoint(NamedTuple):
    """What the devices of one connection share."""

    session: Session
    loop: PublishLoop
    inbox: Inbox
    clock: PlantClock
    pace: Pace


class Device:
    """The items of one configuration. `start` once, then `keep` and `watch_groups` until cancelled."""

    def __init__(self, config: OpcUaConfig, wiring: DeviceWiring, endpoint: Endpoint) -> None:
        self.name = config.device
        self.tags = tags_of(config)
        self.items = [Item(i, tag, config.tags[tag.name]) for i, tag in enumerate(self.tags)]
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
        self._signed = resume.signature(config, self.items)
        self._histories = [item for item in self.items if config.tags[item.tag.name].history]
        watched = frozenset(item.handle for item in self._histories)
        self._track = resume.Track(self._signed, wiring.returns and bool(self._keep or watched), watched)
        self._described: object = None
        self._comeback: Comeback | None = None
        self._held: list[Callable[[], None]] | None = None
        self._held_rows = 0
        self._enough = asyncio.Event()
        self._publishing = publishing_ms(config.publishing, self._clock.speed)
        self._subscription, self._keep_alive = 0, 0.0
        self._log = structlog.get_logger().bind(device=self.name)

    def _check_names(self, wiring: DeviceWiring) -> None:
        """Raise ConfigError when units ask for tags that the device does not have."""
        asked = {name for group in wiring.triggers for name in (group.trigger, *group.tags)} | wiring.acknowledge
        if missing := sorted(asked - set(self.by_name)):
            raise ConfigError(
                f"{self.name} has no tag {', '.join(missing)}, which a unit asks for; add it under tags or mend the unit"
            )

    # -- connecting ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what the server kept, or deliver the baseline and the trigger groups, then subscribe. Raises DisconnectedError."""
        asked, asked_at_plant = asyncio.get_running_loop().time(), self._clock.now()
        await items_of.resolve(self._session, self.items, self._config)
        if await self._resume():
            return
        self._track.connected(self._session.facts.get(STARTED))
        rows = await items_of.read(self._session, self.items)
        self._floors.baseline(rows)
        self._unreadable = _unreadable(rows)
        self._seen = {handle: rows.values[handle] for handle in self._triggers}
        notices = [*self._back(asked_at_plant), self._reporter.first_boot(rows, self._session.facts.get(STARTED))]
        wants = await self._wanted_history(rows)
        if wants:
            self._reporter.put(Columns(), before=notices)
            notices = []
            self._held = []  # whatever the subscription brings waits for what was before it
        else:
            await self._put_baseline(rows, notices)
        await self._subscribe()
        if asyncio.get_running_loop().time() - asked > _UNSEEN:
            # Nobody sampled between the first Read and the item: a big or slow server makes that long enough to matter.
            self._reporter.unseen(asked_at_plant)
        if wants:
            await self._tell_history(wants)
            await self._put_baseline(rows, notices)
        self._describe()
        held, self._held = self._held or [], None
        for deliver in held:
            deliver()

    def _back(self, time: int) -> list[Notice]:
        """Return the notices of a device that answers."""
        facts, asked_at = self._session.facts, self._session.asked_at
        self._reporter.server_state(facts.get(STATE))
        up: list[Notice] = [DeviceUp(self.name, time)]
        if isinstance(current := facts.get(CURRENT), int) and current > 0:
            up.append(ClockOffset(self.name, asked_at, current - asked_at))
        return up

    async def _put_baseline(self, rows: Columns, notices: Sequence[Notice]) -> None:
        details = {item.handle: item.detail for item in self.items if item.detail}
        self._reporter.put(rows, before=notices, details=details, mark=self._track.mark(rows))
        self._fired.update(dict.fromkeys(self._groups))
        await self._read_groups()

    def _describe(self) -> None:
        """Keep with the marks what a later connection must know to take the subscription over."""
        if not self._subscription or not self._keep:
            return
        self._described = self._reporter.boot_id
        monitored = [item for item in self.items if item.monitored is not None]
        nodes, runs = resume.found(monitored), resume.runs_of(monitored)
        self._track.describe(resume.Facts(nodes, runs, self._publishing, self._keep_alive, self._reporter.boot_id))
        self._reporter.put(Columns(), mark=self._track.mark())

    # -- going on ------------------------------------------------------------------------------------------------

    async def _resume(self) -> bool:
        """Take over the subscription that the server has kept and deliver what is in it; False where that cannot be. Raises DisconnectedError."""
        started, asked_at_plant = self._session.facts.get(STARTED), self._clock.now()
        kept = resume.kept_of(self._wiring.marks, self._signed, started) if self._keep else None
        if kept is None or kept.facts.nodes != resume.found(self._of(kept)):
            await self._give_up(started)
            return False
        available = await resume.transfer(self._session, kept.subscription)
        if available is None:
            return False
        self._log.info("opcua.resumed", subscription=kept.subscription, last=kept.number, available=len(available))
        missed = await resume.missed(self._session, kept, available)
        monitored = kept.facts.monitored()
        for item in self.items:
            if item.handle in monitored:
                item.works(monitored[item.handle])
        self._track.go_on(kept)
        self._subscription, self._publishing, self._keep_alive = kept.subscription, kept.facts.publishing, kept.facts.keep_alive
        without = tuple(item.tag.name for item in self.items if item.handle not in monitored)
        boot = self._reporter.same_boot(kept.facts.boot, started)
        recovered = Recovered(self.name, asked_at_plant, without=without)
        self._reporter.put(Columns(), before=[*self._back(asked_at_plant), boot, recovered])
        for number in available:
            if number <= kept.number:
                self._loop.accept(Receipt(kept.subscription, number))
        last = max((number for number in available if number > kept.number), default=kept.number)
        await self._catch_up(missed, last)
        return True

    def _of(self, kept: resume.Kept) -> list[Item]:
        monitored = kept.facts.monitored()
        return [item for item in self.items if item.handle in monitored]

    async def _give_up(self, started: object) -> None:
        """Delete what this run of the server has kept for us and we cannot go on with."""
        for line in {mark.line for mark in self._wiring.marks if self._keep}:
            signed, _, rest = line.partition(":")
            subscription, _, run = rest.partition("@")
            if signed and subscription.isdigit() and run == str(started):
                await resume.discard(self._session, int(subscription))

    async def _catch_up(self, missed: Sequence[resume.Missed], last: int) -> None:
        """Deliver what was asked for again and what comes first, then what stands now. Raises DisconnectedError."""
        boot = self.by_name[self._config.boot].handle if self._config.boot else -1
        comeback = self._comeback = Comeback(self._reporter, self._track, boot)
        comeback.again(missed, self._subscription, self._taken)
        rows = await items_of.read(self._session, self.items)
        self._unreadable = _unreadable(rows)
        self._loop.acks.ask(self._subscription, resume.stored(self._wiring.stored, self._track.line))
        self._loop.add(self._subscription, self, self._keep_alive, following(last))
        await comeback.wait(self._publishing)
        self._comeback = None
        self._seen = {handle: rows.values[handle] for handle in self._triggers}
        groups = {handle: [self._groups[name] for name in names] for handle, names in self._triggers.items()}
        present = comeback.not_told(rows)
        self._floors.raise_to(present, self._until())
        self._track.read(present, self._until())
        after = [self._tag_lost(item, why) for item, why in self._vanished(present)]
        self._reporter.put(
            present, before=comeback.overwritten(self.name, groups), after=[notice for notice in after if notice is not None],
            mark=self._track.mark(),
        )  # fmt: skip
        await self._monitor([item for item in self.items if item.monitored is None])
        self._describe()
        self._fired.update(dict.fromkeys(self._groups))
        await self._read_groups()

    def caught_up(self) -> None:
        """Take note that the server has told everything that it kept."""
        if self._comeback is not None:
            self._comeback.caught_up()

    # -- history -------------------------------------------------------------------------------------------------

    async def _wanted_history(self, rows: Columns) -> list[history.Want]:
        """Return the tags whose historian may know what was missed; none after a restart of the device, for it ends every count."""
        marks = self._wiring.marks
        if not self._histories or not marks:
            return []
        here = {handle: row for row, handle in enumerate(rows.handles)}
        seen = {item.handle: min(mark.seen.get(item.handle, 0) for mark in marks) for item in self._histories}
        self._track.remember({handle: time for handle, time in seen.items() if time})
        if not all(self._same_run(mark) for mark in marks):
            self._log.info("opcua.no_history", reason="the device restarted meanwhile, or it is not known whether it did")
            return []
        items = [item for item in self._histories if seen[item.handle] and rows.source[here[item.handle]] >= seen[item.handle]]
        items = await history.offered(self._session, items)
        return [history.Want(item, seen[item.handle], rows.source[here[item.handle]]) for item in items]

    def _same_run(self, mark: Mark) -> bool:
        """Whether the device has run on since ``mark``: its own boot tag says so, where there is none the server's start time."""
        if self._config.boot is not None:
            facts = resume.facts_of(mark)
            return facts is not None and facts.boot is not None and facts.boot == self._reporter.boot_id
        return resume.started_of(mark) == str(self._session.facts.get(STARTED))

    async def _tell_history(self, wants: Sequence[history.Want]) -> None:
        """Deliver what the historian has of the gap, once and whole; a tag of which it has less stays lost. Raises DisconnectedError."""
        bounds = history.Bounds(self._config.history_within / 1e9, self._config.history_rows)
        told = await history.fill(self._session, wants, bounds, self._enough)
        self._log.info("opcua.history", tags=len(told.complete), of=len(wants), rows=len(told.rows))
        if not told.complete:
            return
        await self._inbox.room(len(told.rows))
        recovered = Recovered(self.name, self._clock.now(), told.complete)
        self._reporter.put(told.rows, before=[recovered], mark=self._track.past(told.rows, f"history:{uuid4()}"), historical=True)

    async def _subscribe(self) -> None:
        keep_alive, lifetime = counts(self._publishing, self._pace, self._keep)
        params = ua.CreateSubscriptionParameters(self._publishing, lifetime, keep_alive, 0, True, 0)
        try:
            result = await self._session.create_subscription(ua.CreateSubscriptionRequest(Parameters=params))
        except DisconnectedError as error:
            if (code := refusal(error)) is None:
                raise
            self._poller.instead = status_text(code)
            await self._monitor(self.items)
            return
        if result.RevisedPublishingInterval > 1.5 * self._publishing:
            self._log.info("opcua.revised", publishing_ms=self._publishing, revised_ms=result.RevisedPublishingInterval)
        self._publishing = max(result.RevisedPublishingInterval, self._publishing)
        self._subscription = result.SubscriptionId
        self._keep_alive = result.RevisedPublishingInterval * result.RevisedMaxKeepAliveCount / 1000
        if self._keep:
            self._track.begin(self._subscription, self._session.facts.get(STARTED))
        if self._track.resumable:
            self._loop.acks.ask(self._subscription, resume.stored(self._wiring.stored, self._track.line))
        self._loop.add(self._subscription, self, self._keep_alive)
        await self._watch_state()
        await self._monitor(self.items)

    async def _watch_state(self) -> None:
        """Subscribe to the server's own state; a server without it is taken to run."""
        params = ua.MonitoringParameters(len(self.items), 1000.0, QueueSize=1, DiscardOldest=True)
        node = ua.ReadValueId(ua.NodeId(STATE), ua.AttributeIds.Value)
        await self._session.monitor(self._subscription, [ua.MonitoredItemCreateRequest(node, ua.MonitoringMode.Reporting, params)])

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
            [(item, failures.get(item.handle) or item.detail) for item in items if item.node is None or item.handle in failures]
        )
        return [item for item in known if item.handle not in failures]

    async def _poll(self, items: Sequence[Item], why: str) -> None:
        """Read items again and again that the server does not subscribe, and say which."""
        await self._poller.add(items)
        names = self._poller.names
        self._log.warning("opcua.polled", tags=len(names), first=names[:_NAMED], reason=why)
        detail = f"the server does not sample them: {why}"
        self._reporter.put(Columns(), after=[Polled(self.name, self._clock.now(), tuple(names[:_NAMED]), len(names), detail)])

    async def poll(self) -> None:
        """Poll what the server does not subscribe, until cancelled. Raises DisconnectedError."""
        await self._poller.run()

    # -- what arrives --------------------------------------------------------------------------------------------

    def polled(self, rows: Columns) -> None:
        """Take the rows of one poll."""
        self.notified(rows, None)

    def notified(self, rows: Columns, receipt: Receipt | None) -> None:
        """Take the rows of one notification message."""
        if self._held is not None:
            self._hold(rows, receipt)
            return
        rows = self._taken(rows) if receipt is not None else self._own(rows)  # what was polled has been taken apart already
        if receipt is not None and self._comeback is not None and self._comeback.active and len(rows):
            self._comeback.message(rows, receipt)
            return
        for handle, names in self._triggers.items():
            if handle in rows.handles:
                self._look_at_trigger(rows, handle, names)
        rows = self._floors.admitted(rows, asyncio.get_running_loop().time())
        if not len(rows):
            if receipt is not None:
                self._loop.accept(receipt)
            return
        after = [self._tag_lost(item, why) for item, why in self._vanished(rows)]
        mark = self._track.mark(rows, receipt.sequence if receipt is not None else None)
        self._reporter.put(rows, receipt, after=[notice for notice in after if notice is not None], mark=mark)
        if self._reporter.boot_id != self._described:
            self._describe()

    def _taken(self, rows: Columns) -> Columns:
        """Return the rows that are tags, parts taken out of their values."""
        rows = self._own(rows)
        take_parts(rows, self._parts)
        return rows

    def _hold(self, rows: Columns, receipt: Receipt | None) -> None:
        """Keep live rows until what was before them is told; when they are too many the history is not waited for any more."""
        assert self._held is not None  # noqa: S101 - asked just before
        self._held.append(lambda: self.notified(rows, receipt))
        self._held_rows += len(rows)
        if self._held_rows > self._config.history_rows:
            self._enough.set()

    def hole(self, missing: int) -> None:
        """Declare messages that are lost for good, and read everything anew."""
        if self._held is not None:
            self._held.append(lambda: self.hole(missing))
            return
        self._reporter.hole(missing)
        self.resync()

    def status(self, code: int) -> None:
        """Look after every item when the server reports a change of the subscription."""
        self._log.info("opcua.status_change", status=status_text(code))
        self.resync()

    def resync(self) -> None:
        """Read all items anew soon: values may have been lost."""
        self._resync = True
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

    def _look_at_trigger(self, rows: Columns, handle: int, names: Sequence[str]) -> None:
        for row, number in enumerate(rows.handles):
            if number == handle and quality_of(rows.status[row]) is not Quality.BAD and rows.values[row] != self._seen.get(handle):
                self._seen[handle] = rows.values[row]
                self._fired.update(dict.fromkeys(names))
                self._fire.set()

    # -- items that come and go ----------------------------------------------------------------------------------

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

    async def keep(self) -> None:
        """Bring failed items back and read everything anew after a loss, until cancelled. Raises DisconnectedError."""
        while True:
            due = min((item.retry_at for item in self.items if item.state == "bad"), default=None)
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                await self._retry()
            self._wake.clear()
            if self._resync:
                self._resync = False
                await self._read_again()

    async def compare(self) -> None:
        """Say which variables of the server ``tags_from`` names and nobody declared. Raises DisconnectedError."""
        if self._config.tags_from:
            nodes = {text_of(item.node) for item in self.items if item.node is not None}
            try:
                notice = await undeclared(self._session, self.name, self._config.tags_from, nodes, self._clock.now())
            except DisconnectedError:
                raise
            except Exception:  # noqa: BLE001 - the log gets the traceback: a tree that cannot be understood must not stop the tags
                self._log.exception("opcua.tags_from_failed")
                return
            self._log.info("opcua.tags_from", undeclared=notice.count, first=notice.paths[:3])
            self._reporter.put(Columns(), after=[notice])

    async def _read_again(self) -> None:
        rows = await items_of.read(self._session, [item for item in self.items if item.state == "active"])
        self._floors.raise_to(rows, self._until())
        self._track.read(rows, self._until())
        after = [self._tag_lost(item, why) for item, why in self._vanished(rows)]
        self._reporter.put(rows, after=[notice for notice in after if notice is not None], mark=self._track.mark())

    def _until(self) -> float:
        """Return the machine time by which every sample older than a Read of now has arrived."""
        return asyncio.get_running_loop().time() + 2 * self._publishing / 1000 + 1.0

    async def _retry(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [item for item in self.items if item.state == "bad" and item.retry_at <= now]
        await self._session.refresh()
        await self._session.forget(self._subscription, [item.monitored for item in due if item.monitored is not None])
        for item in due:
            item.monitored = None
        await items_of.resolve(self._session, due, self._config)
        rows = await items_of.read(self._session, due)
        self._floors.baseline(rows)
        self._unreadable = _unreadable(rows)
        working = await self._monitor(due)
        if not working:
            return
        handles = {item.handle for item in working}
        rows = rows.select([row for row, handle in enumerate(rows.handles) if handle in handles])
        self._log.info("opcua.tags_found", tags=[item.tag.name for item in working])
        self._reporter.put(rows, before=[TagStatus(self.name, self._clock.now(), item.tag.name, True) for item in working])
        self._describe()

    # -- trigger groups ------------------------------------------------------------------------------------------

    async def watch_groups(self) -> None:
        """Read a trigger group whenever it fires, until cancelled. Raises DisconnectedError."""
        while True:
            await self._fire.wait()
            self._fire.clear()
            await self._read_groups()

    async def _read_groups(self) -> None:
        while self._fired:
            name = next(iter(self._fired))
            del self._fired[name]
            wanted = [self.by_name[tag] for tag in self._groups[name].tags]
            rows = await items_of.read(self._session, wanted, whole=True)
            self._floors.raise_to(rows, self._until())
            self._track.read(rows, self._until())
            self._reporter.put(rows, group=name, mark=self._track.mark())
