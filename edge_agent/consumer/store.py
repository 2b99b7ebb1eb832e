"""The one transaction: what an event does to its stream, and what it writes into the books, are on the disk together or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec
import structlog

from edge_agent.consumer import apply
from edge_agent.consumer.amounts import Account, Accounts
from edge_agent.consumer.apply import Alarm, Apply, Began, Effect, Ignore, Known, Lost, Park, Stream
from edge_agent.consumer.book import book
from edge_agent.consumer.database import Database
from edge_agent.consumer.documents import Checkpoint
from edge_agent.consumer.event import Event, read
from edge_agent.consumer.proofs import Proofs
from edge_agent.consumer.row import Cells, Row, text, when
from edge_agent.consumer.totals import Total

_NUMBERED = ("source", "epoch", "seq")


class Tally(msgspec.Struct):
    """What came since the start, for the log."""

    received: int = 0
    applied: int = 0
    duplicates: int = 0
    alarms: int = 0
    lost: int = 0


class Store:
    """Streams and books in ``database``. Call `begin` before anything else, and again after an error: memory is then read anew."""

    def __init__(self, database: Database, *, outbox: bool = False) -> None:
        """``outbox``: every event is also put into the outbox for REST, in the same transaction."""
        self.database = database
        self.streams: dict[str, Stream] = {}
        self.tally = Tally()
        self._outbox = outbox
        self._accounts: dict[str, Accounts] = {}
        self._moved: set[str] = set()
        self._place = 0
        self._proofs = Proofs(database)
        self._log = structlog.get_logger()

    def begin(self) -> None:
        """Read where the streams stand. Raises StorageError."""
        self._accounts, self._moved = {}, set()
        self.streams = {
            source: Stream(source, epoch, high)
            for source, epoch, high in self.database.read("SELECT source, epoch, high FROM streams")
        }
        for source, epoch in self.database.read("SELECT source, epoch FROM epochs WHERE ended_high IS NOT NULL"):
            self.streams[source].ended.add(epoch)
        for source, body in self.database.read("SELECT source, body FROM parked ORDER BY source, seq"):
            event = read(body.encode())
            self.streams[source].parked[event.seq] = event
        self._place = self.database.read("SELECT COALESCE(MAX(place), 0) FROM inbox")[0][0]

    # -- events ------------------------------------------------------------------------------------------------------

    def take(self, payload: bytes, *, retained: bool, now: int) -> None:
        """Take one message in (``now`` in UTC microseconds), inside a transaction; `finish` ends it. What is no event becomes an alarm."""
        self.tally.received += 1
        try:
            event = read(payload)
        except ValueError as error:
            self._alarm("", f"unreadable-{now}", "unreadable", now, str(error), payload)
            return
        stream = self.streams.setdefault(event.source, Stream(event.source))
        self._carry_out(stream, apply.receive(stream, event, self._known(event.source), retained=retained), now)

    def answered(self, source: str, epoch: str, first: int, not_kept: int, *, now: int) -> None:
        """Take an agent's answer in: ``not_kept`` of the numbers asked for from ``first`` on are gone."""
        stream = self.streams.setdefault(source, Stream(source))
        self._carry_out(stream, apply.answered(stream, epoch, first, not_kept, self._known(source)), now)

    def finish(self) -> None:
        """Write where the streams that moved stand now, before the commit."""
        for source in sorted(self._moved):
            stream = self.streams[source]
            cells: Cells = {"source": source, "epoch": stream.epoch, "high": stream.high}
            self._put(Row("streams", ("source",), cells))
            self.database.write(
                "DELETE FROM parked WHERE source = ? AND (epoch <> ? OR seq <= ?)", (source, stream.epoch, stream.high)
            )
            self._proofs.complete(stream)
        self._moved.clear()

    def _carry_out(self, stream: Stream, effects: Iterable[Effect], now: int) -> None:
        for effect in effects:
            match effect:
                case Apply(event, void):
                    self._apply(event, void=void)
                case Park(event):
                    self._put(Row("parked", _NUMBERED, _numbered(event) | {"body": event.body.decode()}, "once"))
                case Ignore(why):
                    self.tally.duplicates += why == "duplicate"
                case Alarm(kind, event):
                    self._alarm(
                        event.source, event.id, kind, now, f"seq {event.seq} of {event.epoch}, high {stream.high}", event.body
                    )
                case Lost():
                    self._lose(stream.source, effect)
                case Began(epoch, ended):
                    self._begin_epoch(stream.source, epoch, ended)
            self._moved.add(stream.source)

    def _known(self, source: str) -> Known:
        def seen(name: str) -> bool:
            return bool(self.database.read("SELECT 1 FROM inbox WHERE source = ? AND id = ?", (source, name)))

        def lost(epoch: str, seq: int) -> bool:
            sql = "SELECT 1 FROM losses WHERE source = ? AND epoch = ? AND first_seq <= ? AND last_seq >= ?"
            return bool(self.database.read(sql, (source, epoch, seq, seq)))

        def told(name: str) -> bool:
            sql = "SELECT 1 FROM inbox WHERE source = ? AND covers = 0 AND (id = ? OR stands_for = ?)"
            return bool(self.database.read(sql, (source, name, name)))

        return Known(seen, lost, told)

    def _apply(self, event: Event, *, void: bool) -> None:
        self._place += 1
        self.tally.applied += 1
        entry: Cells = {"id": event.id, "place": self._place, "type": event.type, "name": event.name, "subject": event.subject}
        entry |= {"at": when(event.time), "at_us": event.time, "recorded": when(event.recorded), "stands_for": event.retry_of}
        entry |= {"late": int(event.data.get("late") is True), "covers": int(event.covers is not None), "void": int(void)}
        new = self._put(Row("inbox", _NUMBERED, _numbered(event) | entry | {"body": event.body.decode()}, "once"))
        if not new:  # the belt: the number was free, the id was not
            self._alarm(event.source, event.id, "two_of_an_id", event.recorded, f"seq {event.seq} of {event.epoch}", event.body)
            return
        if self._outbox and not void:
            cells: Cells = {
                "source": event.source,
                "id": event.id,
                "place": self._place,
                "tries": 0,
                "aside": 0,
                "body": event.body.decode(),
            }
            self._put(Row("rest_outbox", ("source", "id"), cells, "once"))
        if not void:
            self._book(event)

    def _book(self, event: Event) -> None:
        before = self._accounts_of(event.source)
        accounts = dict(before)
        try:
            rows = book(event, accounts)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # one that lacks what its type must have
            detail = f"{event.name} cannot be booked: {type(error).__name__}: {error}"
            self._alarm(event.source, event.id, "unbooked", event.recorded, detail, event.body)
            return
        for row in rows:
            if not self._put(row) and row.how == "once" and row.table in {"quality", "units_produced"}:
                self._alarm(event.source, event.id, "two_of_a_key", event.recorded, f"{row.cells['source_key']}", event.body)
        self._accounts[event.source] = accounts
        for name in before.keys() - accounts.keys():
            self.database.write("DELETE FROM counters WHERE source = ? AND counter = ?", (event.source, name))
        for name, account in accounts.items():
            if before.get(name) != account:
                self._put(_account_row(event.source, name, account))

    def _accounts_of(self, source: str) -> Accounts:
        if source not in self._accounts:
            rows = self.database.read(
                "SELECT counter, epoch, total, by_total, disposition, uom FROM counters WHERE source = ?", (source,)
            )
            self._accounts[source] = {
                name: Account(Total(epoch, Decimal(total), bool(by_total)), disposition, uom)
                for name, epoch, total, by_total, disposition, uom in rows
            }
        return self._accounts[source]

    # -- what is not an ordinary event -------------------------------------------------------------------------------

    def _lose(self, source: str, lost: Lost) -> None:
        if lost.last < lost.first:
            return
        self.tally.lost += lost.last - lost.first + 1
        cells: Cells = {
            "source": source,
            "epoch": lost.epoch,
            "first_seq": lost.first,
            "last_seq": lost.last,
            "how": lost.how,
            "by_id": lost.by,
        }
        self._put(Row("losses", ("source", "epoch", "first_seq"), cells))
        self._log.warning("consumer.lost", source=source, epoch=lost.epoch, first=lost.first, last=lost.last, how=lost.how)

    def _begin_epoch(self, source: str, epoch: str, ended: str) -> None:
        if ended:
            high = self.database.read("SELECT COALESCE(MAX(seq), 0) FROM inbox WHERE source = ? AND epoch = ?", (source, ended))
            self.database.write("UPDATE epochs SET ended_high = ? WHERE source = ? AND epoch = ?", (high[0][0], source, ended))
            self._log.warning("consumer.epoch", source=source, epoch=epoch, ended=ended)
        place = self.database.read("SELECT COUNT(*) FROM epochs WHERE source = ?", (source,))[0][0]
        self._put(Row("epochs", ("source", "epoch"), {"source": source, "epoch": epoch, "place": place + 1}, "once"))

    def _alarm(self, source: str, name: str, kind: str, now: int, detail: str, body: bytes) -> None:
        self.tally.alarms += 1
        cells: Cells = {"source": source, "id": name, "kind": kind, "at": when(now), "detail": text(detail)}
        shown = text(body.decode(errors="replace"))
        self._put(Row("consumer_alarms", ("source", "id", "kind"), cells | {"body": shown}, "once"))
        self._log.error("consumer.alarm", kind=kind, source=source, id=name, detail=detail)

    def checkpoint(self, source: str, checkpoint: Checkpoint, *, now: int) -> None:
        """Take in a retained checkpoint of ``source``: its watermark holds as soon as everything up to its ``last_seq`` is applied."""
        stream = self.streams.setdefault(source, Stream(source))
        if not self._proofs.keep(stream, checkpoint):
            return
        for name, words in self._proofs.differing(stream, checkpoint, self._accounts_of(source)):
            self._alarm(source, f"{stream.epoch}-{stream.high}-{name}", "totals_differ", now, words, b"")
        if stream.epoch:
            self._moved.add(source)

    def _put(self, row: Row) -> bool:
        """Write a row; return False when one with its key was there and stays."""
        return self.database.write(row.sql(), tuple(row.cells.values())) > 0


def _numbered(event: Event) -> Cells:
    return {"source": event.source, "epoch": event.epoch, "seq": event.seq}


def _account_row(source: str, name: str, account: Account) -> Row:
    total = account.total
    cells: Cells = {
        "source": source,
        "counter": name,
        "epoch": total.epoch,
        "total": str(total.value),
        "by_total": int(total.by_total),
    }
    return Row("counters", ("source", "counter"), {**cells, "disposition": account.disposition, "uom": account.uom})
