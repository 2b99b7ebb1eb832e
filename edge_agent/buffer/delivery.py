"""What has left: which records were handed out, which were delivered or rejected since the last commit, and how far each stream is.

Deliveries are kept in memory until a commit takes them along; until then `peek` hides them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import structlog

from edge_agent.buffer.loss import LossReason, loss_of
from edge_agent.buffer.records import Place, Stored
from edge_agent.buffer.store import Store
from edge_agent.buffer.tail import Tails
from edge_agent.model.stream import Kind, Record, RecordKey

_REMEMBERED = 20_000
"""Records handed out whose place is remembered; beyond that it is looked up."""


class Verdict(msgspec.Struct, frozen=True):
    """Why a record will not be delivered."""

    reason: LossReason
    detail: str


class _Progress(msgspec.Struct):
    """Up to where a stream is delivered without a hole, and the delivered ranges above (first -> last)."""

    level: int
    above: dict[int, int] = {}

    def deliver(self, first: int, last: int) -> bool:
        """Take a range in; return whether the level rose."""
        if last <= self.level:
            return False
        self.above[first] = last
        before = self.level
        while (reached := self.above.pop(self.level + 1, None)) is not None:
            self.level = reached
        return self.level > before


class Delivery:
    """The memory of the writer thread about delivery."""

    def __init__(self) -> None:
        """Start with nothing handed out."""
        self._handed: dict[RecordKey, Place] = {}
        self._verdicts: dict[RecordKey, tuple[Place, Verdict | None]] = {}
        self._progress: dict[int, _Progress] = {}
        self._risen: set[int] = set()
        self.floors: dict[Kind, int] = {"E": 0, "T": 0}
        self.tails = Tails()
        self._last: dict[Kind, tuple[RecordKey, int]] = {}
        self.pending = {"E": 0, "T": 0}
        self.since = float("inf")
        self._touched = False
        self.urgent = False

    def __len__(self) -> int:
        """How many records wait for a commit that notes what became of them."""
        return len(self._verdicts)

    def load(self, store: Store) -> None:
        """Read how far the streams of every epoch are; what was handed out and decided stays known over a reopening of the same store."""
        self.tails.forget()
        for identity, settled in store.settled_levels():
            progress = self._progress.setdefault(identity, _Progress(settled))
            progress.level = max(progress.level, store.reached(identity, settled))
            if progress.level > settled:
                self._risen.add(identity)
            for first, last in store.delivered_above(identity, progress.level):
                progress.deliver(first, last)

    def began_to_wait(self, now: float) -> None:
        """Note when the oldest decision began to wait for a commit (seconds of machine time)."""
        if self._touched:
            self._touched = False
            self.since = min(self.since, now)

    # -- handing out -----------------------------------------------------------------------------------------------

    def peek(self, store: Store, after: RecordKey | None, limit: int, kind: Kind) -> list[Record]:
        """Return up to ``limit`` undelivered records behind ``after``. A damaged row is set aside for its loss record."""
        begin = self._position(store, after, kind)
        found = self.tails[kind].behind(begin, limit)
        if found is None:
            found = self._read(store, begin, limit, kind)
        for place, record in found:
            self._hand(record.key, place)
        return [record for _, record in found]

    def _read(self, store: Store, begin: int, limit: int, kind: Kind) -> list[tuple[Place, Record]]:
        """Read what `peek` returns from the disk; what reaches the end is remembered as the queue's tail."""
        position = begin
        found: list[tuple[Place, Record]] = []
        while len(found) < limit:
            want = limit - len(found)
            rows = store.waiting(kind, position, want)
            for stored in rows:
                position = stored.place.id
                if self._usable(stored):
                    found.append((stored.place, stored.record))
            if len(rows) < want:
                self.tails[kind].read(found, begin)
                break
        return found

    def oldest(self, store: Store) -> int | None:
        """Return the time of the oldest undelivered record."""
        times: list[int] = []
        kinds: tuple[Kind, ...] = ("E", "T")
        for kind in kinds:
            position = 0
            while rows := store.waiting(kind, position, 32):
                open_ = [stored.record.entry.time for stored in rows if not self.gone(stored.record.key)]
                if open_:
                    times.append(open_[0])
                    break
                position = rows[-1].place.id
        return min(times, default=None)

    def gone(self, key: RecordKey) -> bool:
        """Whether a record was delivered and no commit has noted it yet."""
        return key in self._verdicts and self._verdicts[key][1] is None

    def _position(self, store: Store, after: RecordKey | None, kind: Kind) -> int:
        if after is None:
            return 0
        if (last := self._last.get(kind)) is not None and last[0] == after:
            return last[1]
        if (place := self._handed.get(after)) is not None:
            return place.id
        found = store.find(after)
        return 0 if found is None else found[0]

    def _usable(self, stored: Stored) -> bool:
        key = stored.record.key
        if key in self._verdicts:
            return False
        if stored.sound:
            return True
        structlog.get_logger().error("buffer.record_damaged", stream=key.stream, seq=key.seq)
        self._decide(key, stored.place, Verdict("corruption", "the checksum of the row is wrong"))
        return False

    def _hand(self, key: RecordKey, place: Place) -> None:
        self._handed[key] = place
        self._last[place.kind] = (key, place.id)
        self.floors[place.kind] = max(self.floors[place.kind], place.id)
        if len(self._handed) > _REMEMBERED:
            del self._handed[next(iter(self._handed))]

    # -- deciding --------------------------------------------------------------------------------------------------

    def settle(self, store: Store | None, delivered: Iterable[RecordKey], rejected: Iterable[tuple[RecordKey, str]]) -> None:
        """Note deliveries and rejections; keys that are unknown or decided already are ignored."""
        for key in delivered:
            if (place := self._open_place(store, key)) is not None:
                self._decide(key, place, None)
                self._rise(place)
        for key, reason in rejected:
            if (place := self._open_place(store, key)) is not None:
                self._decide(key, place, Verdict("rejected", reason))

    def _open_place(self, store: Store | None, key: RecordKey) -> Place | None:
        if key in self._verdicts:
            return None
        if (place := self._handed.pop(key, None)) is not None:
            return place
        found = store.find(key) if store is not None else None
        if found is None or store is None or not found[2]:
            return None
        identity, kind, _, first = found
        return Place(identity, kind, store.stream_id(key.stream, key.epoch) or 0, key.seq, first)

    def _decide(self, key: RecordKey, place: Place, verdict: Verdict | None) -> None:
        self._verdicts[key] = (place, verdict)
        self.tails[place.kind].decided(place.id)
        self.pending[place.kind] += verdict is None
        self.urgent = self.urgent or verdict is not None  # the receiver stands before a hole until its loss record is there
        self._touched = True

    def _rise(self, place: Place) -> None:
        if self._progress.setdefault(place.stream, _Progress(0)).deliver(place.first, place.seq):
            self._risen.add(place.stream)

    def level(self, stream: int, stored: int) -> int:
        """Return up to where a stream is delivered without a hole."""
        progress = self._progress.get(stream)
        return stored if progress is None else progress.level

    # -- committing ------------------------------------------------------------------------------------------------

    def write(self, store: Store, age: int, prefix: str) -> dict[str, int]:
        """Write all decisions; inside a transaction. Returns by how much the counts of ``E``, ``T`` and ``delivered`` change."""
        change = {"E": 0, "T": 0, "delivered": 0}
        places = [place for place, verdict in self._verdicts.values() if verdict is None]
        for place, verdict in self._verdicts.values():
            if verdict is not None and not _put_loss(store, place, verdict, prefix):
                places.append(place)
                self._rise(place)
        kinds: tuple[Kind, ...] = ("E", "T")
        for kind in kinds:
            gone = [place for place in places if place.kind == kind]
            if gone:
                done, kept = store.deliver(gone, age)
                change[kind] -= done
                change["delivered"] += kept
        for stream in self._risen:  # more may stand behind a hole than `load` looked at, and some of it may be deleted by now
            progress = self._progress[stream]
            progress.level = max(progress.level, store.reached(stream, progress.level))
        store.settled((stream, self._progress[stream].level) for stream in self._risen)
        return change

    def written(self) -> bool:
        """The decisions are on the disk; return whether loss records now wait where records were rejected."""
        replaced = any(verdict is not None for _, verdict in self._verdicts.values())
        self._verdicts.clear()
        self._risen.clear()
        self.pending = {"E": 0, "T": 0}
        self.since, self._touched, self.urgent = float("inf"), False, False
        return replaced


def _put_loss(store: Store, place: Place, verdict: Verdict, prefix: str) -> bool:
    """Keep the record as a dead letter and put its loss record in its place; False when it is itself a loss record.

    A loss record that the receiver refuses would be refused for ever: it is kept as a dead letter and the stream moves on.
    """
    stored = store.read(place)
    if stored is None:
        return True
    store.set_aside(stored, verdict.reason, verdict.detail)
    if stored.loss and verdict.reason == "rejected":
        structlog.get_logger().error(
            "buffer.loss_record_rejected", stream=stored.record.key.stream, seq=place.seq, detail=verdict.detail
        )
        return False
    loss = loss_of([(place.seq, stored.record.entry)], verdict.reason, verdict.detail)
    loss.first = place.first
    store.replace(place, loss.entry(prefix), place.first)
    return True
