"""One device: baseline, subscription, what arrives, and what is done again and again: polling, retries, trigger groups.

The first Read comes before the subscription exists, so values stay monotonic. A later Read (trigger group, values lost
on the way) can be newer than samples still waiting at the server: those are dropped when they arrive (`Floors`).
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Sequence
from typing import Final

from asyncua import ua

from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua import resume
from edge_agent.drivers.opcua.expand import undeclared
from edge_agent.drivers.opcua.inbox import Receipt
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.members import NOT_SUBSCRIBED_NAMES, unreadable
from edge_agent.drivers.opcua.pace import counts
from edge_agent.drivers.opcua.returning import Returning
from edge_agent.drivers.opcua.session import NOT_SUBSCRIBED, STARTED, STATE, refusal, status_text
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Notice, TagStatus

_UNSEEN: Final = 1.0
"""Machine seconds between the first Read and the last monitored item from which on what happened in between is declared as unseen."""


class Device(Returning):
    """The items of one configuration. `start` once, then `keep` and `watch_groups` until cancelled."""

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
        self._unreadable = unreadable(rows)
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
        self._release()

    async def _put_baseline(self, rows: Columns, notices: Sequence[Notice]) -> None:
        details = {item.handle: item.detail for item in self.items if item.detail}
        self._reporter.put(rows, before=notices, details=details, mark=self._track.mark(rows))
        self._fired.update(dict.fromkeys(self._groups))
        await self._read_groups()

    async def _subscribe(self) -> None:
        self._poller.instead = await self._open_subscription() or ""
        self._poller.watches = bool(self._poller.instead) or not await self._watch_state()
        await self._monitor(self.items)
        if not self._poller.items:
            self._tell_polled("")

    async def _open_subscription(self) -> str | None:
        """Create the subscription; returns what a server says that refuses one."""
        keep_alive, lifetime = counts(self._publishing, self._pace, self._keep)
        params = ua.CreateSubscriptionParameters(self._publishing, lifetime, keep_alive, 0, True, 0)
        try:
            result = await self._session.create_subscription(ua.CreateSubscriptionRequest(Parameters=params))
        except DisconnectedError as error:
            if (code := refusal(error)) is None:
                raise
            return status_text(code)
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
        return None

    async def _watch_state(self) -> bool:
        """Subscribe to the server's own state; returns whether the server takes that. A server without it is taken to run."""
        params = ua.MonitoringParameters(len(self.items), 1000.0, QueueSize=1, DiscardOldest=True)
        node = ua.ReadValueId(ua.NodeId(STATE), ua.AttributeIds.Value)
        wanted = [ua.MonitoredItemCreateRequest(node, ua.MonitoringMode.Reporting, params)]
        (created,) = await self._session.monitor(self._subscription, wanted)
        return created.status not in NOT_SUBSCRIBED

    async def poll(self) -> None:
        """Poll what the server does not subscribe, until cancelled. Raises DisconnectedError."""
        await self._poller.run()

    async def resubscribe(self) -> None:
        """Ask now and then for what the server refused to sample: it may have room again. Until cancelled; raises DisconnectedError."""
        while True:
            await asyncio.sleep(self._pace.resubscribe)
            polled = self._poller.items
            if not polled or (self._poller.instead and await self._open_subscription() is not None):
                continue
            self._poller.instead = ""
            self._poller.watches = self._poller.watches and not await self._watch_state()
            why = await self._monitor_polled(polled)
            left = len(self._poller.items)
            if left != len(polled):
                self._log.info("opcua.subscribed", tags=len(polled) - left)
                self._tell_polled(f"the server does not sample them: {why}" if why else "")
                self._describe()

    async def _monitor_polled(self, polled: Sequence[Item]) -> str:
        """Subscribe what is polled, one item first and then more at a time; returns why the server takes no more of them."""
        at, size = 0, 1
        while at < len(polled):
            async with self._poller.turn:  # a Read on its way beside the first sample could tell the older value last
                chunk = [item for item in polled[at : at + size] if item.polled and item.state == "active"]
                said = await items_of.monitor(self._session, self._subscription, chunk, self._publishing, self._clock.speed)
            if refused := [why for why in said if why in NOT_SUBSCRIBED_NAMES]:
                return refused[0] or ""
            at, size = at + size, 2 * size
        return ""

    # -- what arrives --------------------------------------------------------------------------------------------

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
        with self._floors.reading() as beside:
            rows = await items_of.read(self._session, [item for item in self.items if item.state == "active"])
            vanished = self._vanished(rows)
            rows = beside.fresh(rows, {item.handle for item, _ in vanished})
        self._floors.raise_to(rows, self._until())
        self._track.read(rows, self._until())
        after = [self._tag_lost(item, why) for item, why in vanished]
        self._reporter.put(rows, after=[notice for notice in after if notice is not None], mark=self._track.mark())

    async def _retry(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [item for item in self.items if item.state == "bad" and item.retry_at <= now]
        await self._session.refresh()
        await self._session.forget(self._subscription, [item.monitored for item in due if item.monitored is not None])
        for item in due:
            item.monitored = None
        await items_of.resolve(self._session, due, self._config)
        with self._floors.reading() as beside:
            rows = await items_of.read(self._session, due)
            self._floors.baseline(rows)
            self._unreadable = unreadable(rows)
            working = await self._monitor(due)
            rows = beside.fresh(rows)
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
