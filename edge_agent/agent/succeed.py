"""Asks the broker, before anything is sent, whether this store is the one it knows; and begins a new epoch where it is not.

The broker is asked when the agent starts, before its units fold anything, so that they can begin from the checkpoint. Does it not answer
within `PATIENCE`, collecting goes on; then the verdict comes with the first connection, still before the first event is sent, and what was
appended meanwhile is given new numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from edge_agent.agent import origin
from edge_agent.agent.origin import Found, Resume, Seen
from edge_agent.agent.regain import regain, witnesses
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.lineage import Lineage, Succession
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.events.encode import encode
from edge_agent.model.errors import DisconnectedError, StorageError
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import iso, parse
from edge_agent.model.stream import Checkpoint, Entry
from edge_agent.ports import PlantClock, Sink
from edge_agent.publish.topics import Topics

PATIENCE = 3.0
"""Machine seconds that a start waits for the broker: that long nothing is collected."""

_TEXT = {
    "behind": "the broker has seen higher numbers of this epoch: the store was restored from a copy",
    "forked": "another store has gone on under this epoch: the store was restored from a copy, or cloned",
    "superseded": "the broker has seen a younger epoch: the store was restored from a copy",
    "moved": "the store belonged to another machine: it may have been cloned",
    "adopted": "another gateway takes the stream over",
    "lost": "the store was damaged or gone: what it held besides is not known",
}


class Origin:
    """Decides once in the life of an agent."""

    def __init__(
        self, buffer: SqliteBuffer, clock: PlantClock, topics: Topics, streams: Sequence[str], *, prefix: str, cfg: str
    ) -> None:
        """Judge the store of ``buffer`` by the checkpoints of ``streams`` (the units', and last the agent's own)."""
        self._buffer = buffer
        self._clock = clock
        self._topics = {topics.checkpoint(stream): stream for stream in streams}
        self._own = streams[-1]
        self._prefix, self._cfg = prefix, cfg
        self._log = structlog.get_logger()
        self.begun = False
        self._looked = asyncio.Event()
        self._late = False
        self._deciding = asyncio.Lock()
        self.units_open = asyncio.Event()
        self.decided = False
        self.resumes: dict[str, Resume] = {}
        """What the units stood on when the checkpoints were written, by stream; the base of the next ones."""

    def watch(self, topics: Topics, streams: Sequence[str], cfg: str) -> None:
        """Judge by the checkpoints of other ``streams``, where nothing is decided yet."""
        self._topics, self._own, self._cfg = {topics.checkpoint(stream): stream for stream in streams}, streams[-1], cfg

    async def first_look(self) -> None:
        """Wait for the verdict, for a while; a store of another machine gets its new epoch in any case. Raises StorageError.

        A new epoch that is being begun is waited for: the units open on its states.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._looked.wait()
        async with self._deciding:
            if not self.begun and (await self._buffer.lineage()).moved:
                await self._begin("moved", Found(""), ())
            self._late = True

    async def runs(self) -> tuple[str, ...]:
        """Return the tokens that the checkpoints of this store name. Raises DisconnectedError while it cannot be asked."""
        try:
            return (await self._buffer.lineage()).tokens
        except StorageError as error:
            raise DisconnectedError(f"the store cannot be read: {error}") from error

    def no_broker(self) -> None:
        """The broker cannot be asked now."""
        self._looked.set()

    async def ask(self, sink: Sink) -> None:
        """Read the checkpoints and decide, the first time. Raises DisconnectedError also when the store cannot begin an epoch now."""
        if self.decided:
            return
        seen = read_all(await sink.retained(tuple(self._topics)), self._topics)
        try:
            async with self._deciding:
                found = await self._decide(seen)
        except StorageError as error:
            raise DisconnectedError(f"nothing is sent before the store is in order: {error}") from error
        self._log.debug("origin.decided", cause=found.cause, checkpoints=len(seen), late=self._late)
        self.decided = True
        self._looked.set()

    async def _decide(self, seen: Sequence[Seen]) -> Found:
        damage = self._buffer.damage
        if not self.begun and not self._late and damage is not None and (of_it := witnesses(damage, seen)) and await self._blank():
            await self._regain(damage, of_it)
            return Found("")
        lineage = await self._buffer.lineage()
        found = origin.judge(lineage, self._buffer.epoch, seen)
        if (found.cause or lineage.moved) and not self.begun:
            await self._begin(found.cause or "moved", found, seen)
        elif not found.cause:
            self.resumes = {one.stream: one.resume for one in seen if one.resume and one.epoch == self._buffer.epoch}
        return found

    async def _blank(self) -> bool:
        """Whether no unit has numbered anything in this epoch: a start that was killed before it declared the damage may have, and counted by then."""
        units = set(self._topics.values()) - {self._own}
        return not any(last for stream, (_, last, _) in (await self._buffer.heads()).items() if stream in units)

    async def _begin(self, cause: str, found: Found, seen: Sequence[Seen]) -> None:
        states = [] if self._late else await self._newer(seen)
        last = origin.newest(seen)
        before = self._buffer.epoch
        events = gaps(
            cause, self._topics.values(), seen, found.fork, self._clock.now(), epoch=before, prefix=self._prefix, cfg=self._cfg
        )
        lineage: Lineage = await self._buffer.lineage()
        plan = Succession(
            last.epoch if last is not None and found.cause else before,
            events,
            states,
            found.fork,
            origin.foreign(lineage, seen),
        )
        await self._succeed(cause, plan, seen, {checkpoint.owner for checkpoint in states})

    async def _regain(self, damage: Damage, seen: Sequence[Seen]) -> None:
        """The store is gone, or the end of it: go on from what is known of it, under numbers that nobody has given."""
        epoch = seen[0].epoch
        heads = {level.stream: level.last for level in await self._buffer.levels() if level.epoch == epoch}
        back = regain(self._topics.values(), seen, states_of(seen), damage.states, heads)
        events = gaps(
            "lost",
            self._topics.values(),
            seen,
            heads,
            self._clock.now(),
            epoch=epoch,
            prefix=self._prefix,
            cfg=self._cfg,
            begins=back.since,
        )
        known = origin.foreign(await self._buffer.lineage(), seen)
        await self._succeed("lost", Succession(epoch, events, back.states, None, known), seen, back.based)

    async def _succeed(self, cause: str, plan: Succession, seen: Sequence[Seen], taken: Collection[str]) -> None:
        """Begin the epoch; ``taken`` are the units that go on from their checkpoint."""
        self.begun = True
        try:
            await self._buffer.succeed(plan)
        except StorageError:
            self.begun = False
            raise
        self.resumes = {
            one.stream: msgspec.structs.replace(one.resume, seq=0) for one in seen if one.resume and one.stream in taken
        }
        self._log.warning("store.new_epoch", cause=_TEXT[cause], epoch=self._buffer.epoch, previous=plan.previous, fork=plan.fork)

    async def _newer(self, seen: Iterable[Seen]) -> list[Checkpoint]:
        """Return the states of checkpoints that are younger than what the store holds."""
        newer: list[Checkpoint] = []
        for checkpoint in states_of(seen):
            _, known = await self._buffer.states(checkpoint.owner)
            if known is None or known < checkpoint.last_seen:
                newer.append(checkpoint)
        return newer


def read_all(payloads: Mapping[str, bytes], streams: Mapping[str, str]) -> list[Seen]:
    """Return the checkpoints in ``payloads`` (topic -> bytes); ``streams`` names whose each is. What is none is told to the log."""
    found: list[Seen] = []
    for topic, payload in payloads.items():
        try:
            seen = origin.read(payload)
        except ValueError as error:
            structlog.get_logger().warning("origin.no_checkpoint", topic=topic, reason=str(error))
            continue
        if seen.stream == streams.get(topic):
            found.append(seen)
    return found


def states_of(seen: Iterable[Seen]) -> list[Checkpoint]:
    """Return the rule states in checkpoints, as the store keeps them; what cannot be read is told to the log."""
    found: list[Checkpoint] = []
    for one in seen:
        if one.resume is None:
            continue
        try:
            found.append(Checkpoint(one.stream, one.resume.unpack(), parse(one.resume.time)))
        except ValueError as error:
            structlog.get_logger().warning("origin.no_states", stream=one.stream, reason=str(error))
    return found


def gaps(
    cause: str,
    streams: Iterable[str],
    seen: Iterable[Seen],
    fork: Mapping[str, int] | None,
    now: int,
    *,
    epoch: str,
    prefix: str,
    cfg: str,
    begins: Mapping[str, int | None] | None = None,
) -> list[Entry]:
    """Return the ``collection.gap{store_rolled_back}`` of every stream: which numbers are in doubt, and the totals of the checkpoint.

    ``begins`` says since when anything may be missing where that is not the time of the checkpoint.
    """
    by_stream = {one.stream: one for one in seen}
    entries: list[Entry] = []
    for stream in streams:
        one = by_stream.get(stream)
        since = begins[stream] if begins is not None else now if one is None else parse(one.time)
        since = None if since is None else min(since, now)
        kept = None if fork is None else fork.get(stream, 0)
        data: dict[str, Any] = {
            "reason": "store_rolled_back",
            "device": None,
            "interval": [None if since is None else iso(since), iso(now)],
            "tags": ["*"],
            "lost": "unknown",
            "recovered": {},
            "seq_from": None,
            "seq_to": None,
            "cause": _TEXT[cause],
            "prev_epoch": epoch if one is None else one.epoch,
            "doubt": None if one is None else origin.doubt(one, kept),
            "totals_at_from": {} if one is None else one.totals,
        }
        event = ProductionEvent(type="collection.gap", time=now, data=data, interval=None if since is None else (since, now))
        entries.append(encode(event, stream=stream, prefix=prefix, recorded=now, cfg=cfg))
    return entries
