"""The consumer as a program: take what came, commit it, acknowledge it, ask for what is missing. One thread, one transaction a turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
import structlog

from edge_agent.consumer import documents, topics
from edge_agent.consumer.database import Database
from edge_agent.consumer.holes import Asking, Hole, holes
from edge_agent.consumer.link import Link, Message
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store
from edge_agent.model.errors import StorageError
from edge_agent.model.outside import from_json

BATCH = 500
_TURN = 0.5
_CONFIRM = 1.0
_LONGEST_WAIT = 30.0

Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Asked(msgspec.Struct):
    """What comes back with an answer (Correlation Data)."""

    source: str
    epoch: str
    first: Number
    last: Number


class _Answer(msgspec.Struct):
    ok: bool
    resent: Number = 0
    waiting: Number = 0
    not_kept: Number = 0
    error: str | None = None


class Consumer:
    """Everything from the link to the database. ``passed_on`` is called after each commit, for whoever reads the outbox."""

    def __init__(
        self, database: Database, link: Link, root: str, *, patience: float, outbox: bool, passed_on: Callable[[], None]
    ) -> None:
        """Ask for numbers that are missing for ``patience`` s. Raises TakenError, ConfigError, StorageError."""
        self._database, self._link, self._root = database, link, root
        database.claim()
        migrate(database)
        self.store = Store(database, outbox=outbox)
        self._asking = Asking(patience)
        self._passed_on = passed_on
        self._stop = self._dirty = False
        self._alive: Callable[[], None] = _nothing
        self._confirmed: dict[str, tuple[str, int]] = {}
        self._asked_over = 0
        self._sessions: dict[str, str | None] = {}
        self._bases: dict[str, str] = {}
        self._published: list[tuple[str, str, int]] = []
        self._log = structlog.get_logger()
        self._recall()

    def stop(self) -> None:
        """Let `run` end after the turn that it is in."""
        self._stop = True
        self._link.wake()

    def run(self, ready: Callable[[], None], alive: Callable[[], None]) -> None:
        """Consume until `stop`; ``ready`` is called once, ``alive`` each turn."""
        self._alive = alive
        self._link.open()
        ready()
        due = 0.0
        try:
            while not self._stop:
                alive()
                messages = self._link.take(BATCH, _TURN)
                if messages:
                    self._commit(messages)
                if time.monotonic() >= due:
                    due = time.monotonic() + _CONFIRM
                    self._ask()
                    self._confirm()
        finally:
            self._link.close()

    # -- taking in ---------------------------------------------------------------------------------------------------

    def _commit(self, messages: Sequence[Message]) -> None:
        """Commit ``messages`` and acknowledge them; while the database is away they wait, and with them the broker."""
        wait = 0.2
        while not self._stop:
            try:
                self._turn(messages)
            except StorageError as error:
                self._dirty = True  # memory is ahead of the disk
                self._log.error("consumer.waits", reason=str(error), seconds=wait)
                self._idle(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            else:
                self._link.acknowledge(messages)
                self._passed_on()
                return

    def _idle(self, seconds: float) -> None:
        """Wait, but not past a stop, and go on saying that we live."""
        until = time.monotonic() + seconds
        while not self._stop and time.monotonic() < until:
            self._alive()
            time.sleep(min(0.2, seconds))

    def _turn(self, messages: Sequence[Message]) -> None:
        if self._dirty:
            self._database.reopen()
            self._recall()
            self._dirty = False
        with self._database.transaction():
            for message in messages:
                self._take(message)
            self.store.finish()
        self._recall_published()

    def _recall(self) -> None:
        """Read what memory has to know from the database, at the start and after an error."""
        self.store.begin()
        self._bases = dict(self._database.read("SELECT prefix, base FROM agents"))
        self._recall_published()

    def _recall_published(self) -> None:
        self._published = [
            (source, epoch, last)
            for source, epoch, last in self._database.read(
                "SELECT source, epoch, MAX(published_seq) FROM checkpoints GROUP BY source, epoch"
            )
        ]

    def _take(self, message: Message) -> None:
        now = time.time_ns() // 1000
        if message.correlation is not None and not message.topic.startswith(f"{self._root}/v1/"):
            self._answer(message, now)
            return
        place = topics.place(message.topic)
        if place is None:
            return
        if place.kind == "event":
            self.store.take(message.payload, retained=message.retained, now=now)
        elif message.payload:  # empty: a retained document was deleted
            try:
                self._document(place, message, now)
            except ValueError as error:
                self._log.warning("consumer.document", topic=message.topic, reason=str(error))

    def _document(self, place: topics.Place, message: Message, now: int) -> None:
        if place.kind == "meta":
            rows = documents.meta_rows(message.payload, topics.subject(place.base, self._root))
        elif place.kind == "status":
            prefix = topics.prefix(place.base, self._root)
            rows = documents.status_rows(message.payload, place.base, prefix)
            self._bases[prefix] = place.base
            self._heard_of(prefix, rows[0].cells)
        else:
            source = topics.source(topics.prefix(place.base, self._root), place.name)
            self.store.checkpoint(source, documents.checkpoint(message.payload), now=now)
            return
        for row in rows:
            self._database.write(row.sql(), tuple(row.cells.values()))

    def _heard_of(self, prefix: str, status: Mapping[str, object]) -> None:
        """An agent that is back may never have heard what was asked, or has forgotten it."""
        session = str(status["session"]) if status["status"] == "online" else None
        if self._sessions.get(prefix) != session:
            self._sessions[prefix] = session
            if session is not None:
                self._asking.anew(time.monotonic())

    # -- what is missing ---------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for what is missing; what nobody could hear was not asked."""
        if not self._link.connected:
            return
        if self._link.connection != self._asked_over:
            self._asked_over = self._link.connection
            self._asking.anew(time.monotonic())
        wanted = holes(self.store.streams.values(), self._published)
        for hole in self._asking.due((one for one in wanted if self._agent(one.source) is not None), time.monotonic()):
            agent = self._agent(hole.source)
            assert agent is not None  # noqa: S101 - only such holes were looked at
            body = {"stream": topics.stream(hole.source, agent), "epoch": hole.epoch, "from_seq": hole.first, "to_seq": hole.last}
            self._log.warning("consumer.asks", **body)
            correlation = msgspec.json.encode(_asked(hole))
            self._link.publish(f"{self._bases[agent]}/cmd/resend", msgspec.json.encode(body), correlation=correlation)

    def _answer(self, message: Message, now: int) -> None:
        try:
            asked = from_json(message.correlation or b"", _Asked)
            answer = from_json(message.payload, _Answer)
        except ValueError as error:
            self._log.warning("consumer.document", topic=message.topic, reason=str(error))
            return
        self._log.info(
            "consumer.answered", source=asked.source, first=asked.first, last=asked.last, answer=msgspec.to_builtins(answer)
        )
        if answer.ok and answer.not_kept:
            not_kept = min(answer.not_kept, asked.last - asked.first + 1)
            self.store.answered(asked.source, asked.epoch, asked.first, not_kept, now=now)

    def _confirm(self) -> None:
        """Retain up to where each stream is committed: an agent with ``buffer.confirm`` keeps what is behind that."""
        if not self._link.connected:
            self._confirmed.clear()  # the broker may have lost it
            return
        for source, stream in self.store.streams.items():
            mark, agent = (stream.epoch, stream.high), self._agent(source)
            if agent is not None and stream.high and self._confirmed.get(source) != mark:
                self._confirmed[source] = mark
                topic = topics.confirmed(self._bases[agent], topics.stream(source, agent))
                self._link.publish(topic, msgspec.json.encode({"epoch": stream.epoch, "seq": stream.high}), retain=True)

    def _agent(self, source: str) -> str | None:
        found = [prefix for prefix in self._bases if source.startswith(f"{prefix}/")]
        return max(found, key=len) if found else None


def _nothing() -> None:
    pass


def _asked(hole: Hole) -> _Asked:
    return _Asked(hole.source, hole.epoch, hole.first, hole.last)
