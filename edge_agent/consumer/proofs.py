"""Completeness: the checkpoints that agents retain, against what is applied. Runs inside the store's transaction."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from edge_agent.consumer.amounts import Accounts
from edge_agent.consumer.apply import Stream
from edge_agent.consumer.database import Database
from edge_agent.consumer.documents import Checkpoint
from edge_agent.consumer.row import Cells, Row, text, when
from edge_agent.consumer.totals import amount

_ROUNDING = Decimal("1e-6")
_TOO_OLD = (
    "DELETE FROM checkpoints WHERE source = ? AND epoch = ? AND last_seq < "
    "(SELECT MIN(last_seq) FROM (SELECT last_seq FROM checkpoints WHERE source = ? AND epoch = ? ORDER BY last_seq DESC LIMIT 200) newest)"
)
"""While a hole stays open checkpoints pile up: the newest 200 are enough."""


class Proofs:
    """Keeps checkpoints until they are reached, and moves ``complete_to``."""

    def __init__(self, database: Database) -> None:
        """Write to ``database``."""
        self._database = database
        self._seen: dict[str, Checkpoint] = {}

    def keep(self, stream: Stream, checkpoint: Checkpoint) -> bool:
        """Keep a checkpoint of ``stream``; return False for one of an epoch that has ended."""
        if checkpoint.epoch in stream.ended:
            return False
        source = stream.source
        cells: Cells = {"source": source, "epoch": checkpoint.epoch, "last_seq": checkpoint.last_seq}
        cells |= {"published_seq": checkpoint.published_seq, "watermark_us": checkpoint.until, "totals": text(checkpoint.totals)}
        row = Row("checkpoints", ("source", "epoch", "last_seq"), cells)
        self._database.write(row.sql(), tuple(row.cells.values()))
        self._database.write(_TOO_OLD, (source, checkpoint.epoch, source, checkpoint.epoch))
        return True

    def differing(self, stream: Stream, checkpoint: Checkpoint, accounts: Accounts) -> Iterator[tuple[str, str]]:
        """Yield (counter, words) where the books are not what the checkpoint says.

        Only where the stream stands still (two equal checkpoints in a row, and everything up to them applied): in a moving one a checkpoint may be
        a count ahead of the number that it names.
        """
        before, self._seen[stream.source] = self._seen.get(stream.source), checkpoint
        if before is None or _what(before) != _what(checkpoint):
            return
        if (stream.epoch, stream.high) != (checkpoint.epoch, checkpoint.last_seq):
            return
        for name, account in accounts.items():
            said = checkpoint.totals.get(name)
            if said is not None and account.total.epoch == stream.epoch and abs(amount(said) - account.total.value) > _ROUNDING:
                yield name, f"{name}: booked up to {account.total.value}, the checkpoint says {said}"

    def complete(self, stream: Stream) -> None:
        """Move ``complete_to`` up to the newest watermark that is reached, and forget what is."""
        reached = (stream.source, stream.epoch, stream.high)
        sql = "SELECT MAX(watermark_us) FROM checkpoints WHERE source = ? AND epoch = ? AND last_seq <= ?"
        until = self._database.read(sql, reached)[0][0]
        if until is not None:
            sql = "UPDATE streams SET complete_to = ?, complete_to_us = ? WHERE source = ? AND COALESCE(complete_to_us, 0) < ?"
            self._database.write(sql, (when(until), until, stream.source, until))
        done = "DELETE FROM checkpoints WHERE source = ? AND epoch = ? AND last_seq <= ? AND published_seq <= ?"
        self._database.write(done, (*reached, stream.high))
        for ended in stream.ended:
            self._database.write("DELETE FROM checkpoints WHERE source = ? AND epoch = ?", (stream.source, ended))


def _what(checkpoint: Checkpoint) -> tuple[object, ...]:
    return checkpoint.epoch, checkpoint.last_seq, checkpoint.totals
