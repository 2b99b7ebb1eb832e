"""A device on its way back: it goes on with the subscription that the server kept, or asks the historian what it missed."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
import asyncio
from collections.abc import Sequence
from uuid import uuid4

from edge_agent.drivers.opcua import facts, history, resume
from edge_agent.drivers.opcua import item as items_of
from edge_agent.drivers.opcua.comeback import Comeback
from edge_agent.drivers.opcua.inbox import Receipt
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.members import Members, unreadable
from edge_agent.drivers.opcua.session import CURRENT, STARTED, STATE
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import following
from edge_agent.model.reading import ClockOffset, DeviceUp, Mark, Notice, Recovered


class Returning(Members):
    """The part of a device that knows of earlier connections."""

    # -- what stands in every mark -------------------------------------------------------------------------------

    def _back(self, time: int) -> list[Notice]:
        """Return the notices of a device that answers."""
        said, asked_at = self._session.facts, self._session.asked_at
        self._reporter.server_state(said.get(STATE))
        up: list[Notice] = [DeviceUp(self.name, time)]
        if isinstance(current := said.get(CURRENT), int) and current > 0:
            up.append(ClockOffset(self.name, asked_at, current - asked_at))
        return up

    def _describe(self) -> None:
        """Keep with the marks what a later connection must know to take the subscription over."""
        if not self._keep and not self._histories:
            return
        self._described = self._reporter.boot_id
        monitored = [item for item in self.items if item.monitored is not None]
        nodes, runs = facts.found(monitored), facts.runs_of(monitored)
        size = self._track.describe(
            facts.Facts(nodes, runs, self._publishing, self._keep_alive, self._reporter.boot_id, self._poller.watches)
        )
        if size > facts.MOST_BYTES:
            self._log.warning("opcua.not_resumable", tags=len(monitored), runs=len(runs), bytes=size, most=facts.MOST_BYTES)
        self._reporter.put(Columns(), mark=self._track.mark())

    def _release(self) -> None:
        """Deliver what was held."""
        held, self._held, self._held_rows = self._held or [], None, 0
        for deliver in held:
            deliver()

    def _hold(self, rows: Columns, receipt: Receipt | None) -> None:
        """Keep live rows until what was before them is told; when they are too many the history is not waited for any more."""
        assert self._held is not None  # noqa: S101 - asked just before
        self._held.append(lambda: self.notified(rows, receipt))
        self._heard.set()
        self._held_rows += len(rows)
        if self._held_rows > self._config.history_rows:
            self._enough.set()

    # -- going on ------------------------------------------------------------------------------------------------

    async def _resume(self) -> bool:
        """Take over the subscription that the server has kept and deliver what is in it; False where that cannot be. Raises DisconnectedError."""
        started, asked_at_plant = self._session.facts.get(STARTED), self._clock.now()
        kept = resume.kept_of(self._wiring.marks, self._signed, started) if self._keep else None
        if kept is None or kept.facts.nodes != facts.found(self._of(kept)):
            await self._give_up(started)
            return False
        asked = asyncio.get_running_loop().time()
        available = await resume.transfer(self._session, kept.subscription)
        if available is None:
            return False
        took = asyncio.get_running_loop().time() - asked
        self._log.info("opcua.resumed", subscription=kept.subscription, last=kept.number, available=len(available))
        missed = await resume.missed(self._session, kept, available)
        monitored = kept.facts.monitored()
        for item in self.items:
            if item.handle in monitored:
                item.works(monitored[item.handle])
        self._track.go_on(kept.line, kept.number, kept.facts)
        self._subscription, self._publishing, self._keep_alive = kept.subscription, kept.facts.publishing, kept.facts.keep_alive
        self._poller.watches = kept.facts.watches
        for number in available:
            if number <= kept.number:
                self._loop.accept(Receipt(kept.subscription, number))
        last = max((number for number in available if number > kept.number), default=kept.number)
        rows = await items_of.read(self._session, self.items)
        await self._prove(kept, last, took)
        without = tuple(item.tag.name for item in self.items if item.handle not in monitored)
        boot = self._reporter.same_boot(kept.facts.boot, started)
        recovered = Recovered(self.name, asked_at_plant, without=without)
        self._reporter.put(Columns(), before=[*self._back(asked_at_plant), boot, recovered])
        await self._catch_up(missed, rows)
        return True

    async def _prove(self, kept: resume.Kept, last: int, took: float) -> None:
        """Return when the server has said something in the subscription, which is held: some give it away and then say nothing.

        Where it stays silent the publish loop ends the connection, and the next one begins anew. A server that ``took`` long (s) to
        answer is given longer.
        """
        boot = self.by_name[self._config.boot].handle if self._config.boot else -1
        self._comeback = Comeback(self._reporter, self._track, boot)
        self._held = []
        resume.tried(kept.line)
        self._loop.acks.ask(self._subscription, resume.stored(self._wiring.stored, self._track.line))
        within = self._pace.proof + 4 * took + 2 * self._publishing / 1000
        self._loop.take_over(self._subscription, self, self._keep_alive, following(last), within)
        await self._heard.wait()

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

    async def _catch_up(self, missed: Sequence[resume.Missed], rows: Columns) -> None:
        """Deliver what was asked for again and what came first, then ``rows`` of now. Raises DisconnectedError."""
        comeback = self._comeback
        assert comeback is not None  # noqa: S101 - `_prove` made it
        comeback.again(missed, self._subscription, self._taken)
        self._unreadable = unreadable(rows)
        self._release()
        await comeback.wait(self._publishing)
        self._comeback = None
        self._floors.told(comeback.last)
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

    def silent(self) -> None:
        """Take note that the subscription that was taken over says nothing: the next connection begins anew."""
        self._log.warning(
            "opcua.not_transferred", subscription=self._subscription, reason="the server gave it away and says nothing in it"
        )
        resume.doubt(self._track.line)

    def proven(self) -> None:
        """Take note that the subscription that was taken over works."""
        resume.proved(self._track.line)

    def caught_up(self) -> None:
        """Take note that the server has told everything that it kept."""
        self._heard.set()
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
            known = facts.facts_of(mark)
            return known is not None and known.boot is not None and known.boot == self._reporter.boot_id
        return facts.started_of(mark) == str(self._session.facts.get(STARTED))

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
