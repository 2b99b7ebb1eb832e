"""One open database file: its life, its size, its soundness. Used by the writer thread only, raises apsw.Error."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import apsw

from edge_agent.buffer.log import read_log
from edge_agent.buffer.schema import open_database

_TAKEN = {apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID}


class Database:
    """The connection to one file. Call ``close`` on every way out."""

    def __init__(self, path: Path, wal_pages: int, vfs: str | None) -> None:
        """Open the file, creating its tables. Raises ConfigError, apsw.Error."""
        self.path = path
        log = read_log(path)
        self.db = open_database(path, wal_pages, vfs)
        try:
            self.commits_behind_log = log.behind(self._frames()) if log.commits else 0
        except BaseException:
            self.close(failed=True)
            raise
        self.log_doubtful = self.commits_behind_log > 0 or log.ragged
        self.synced_in = 0.0
        self._inode = path.stat().st_ino if vfs is None else None

    def close(self, *, failed: bool = False) -> None:
        """Close the file; after a failure without touching it again (a failed fsync must not be followed by another on this handle)."""
        if failed:
            self.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.db.close(failed)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything inside or nothing; COMMIT returns when it is on the disk (synchronous=FULL).

        Raises apsw.CorruptError also where a number or a name that is given for the first time is there already: an index rotted.
        """
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            began = time.monotonic()
            self.db.execute("COMMIT")
            self.synced_in = time.monotonic() - began
        except BaseException as error:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            if isinstance(error, apsw.ConstraintError) and getattr(error, "extendedresult", 0) in _TAKEN:
                raise apsw.CorruptError(f"what is new is there already: {error}") from error
            raise

    def check(self, seconds: float) -> None:
        """Look through the pages for damage, for at most ``seconds`` of machine time. Raises apsw.CorruptError with the first finding."""
        end = time.monotonic() + seconds
        self.db.set_progress_handler(lambda: time.monotonic() > end, 20_000)
        try:
            finding = self.db.pragma("quick_check", 1)
        except apsw.InterruptError:  # so far sound; a damaged row is found when it is read
            return
        finally:
            self.db.set_progress_handler(None)
        if finding != "ok":
            raise apsw.CorruptError(str(finding))

    def _frames(self) -> int:
        """Return how many frames of the log SQLite took for whole."""
        frames, _ = self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return frames

    def checkpoint(self) -> None:
        """Move the log into the database and sync it: what a failed sync left only in the page cache is written anew. Raises apsw.Error."""
        self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def pages(self) -> tuple[int, int]:
        """Return (pages of the file, pages in use)."""
        total: int = self.db.pragma("page_count")
        return total, total - self.db.pragma("freelist_count")

    def limit(self, pages: int) -> None:
        """Let the file grow to ``pages`` at most."""
        self.db.pragma("max_page_count", pages)

    def size(self) -> int:
        """Return the bytes on disk of the database and its log."""
        total = 0
        for name in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            if name.exists():
                total += name.stat().st_size
        return total

    def displaced(self) -> bool:
        """Whether the file at the path is no longer the one that is open (deleted or replaced by somebody)."""
        if self._inode is None:
            return False
        try:
            return self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def rescue(self) -> None:
        """Write everything to a new file at the path: ours was deleted, and lives on only as long as it is open. Raises apsw.Error, OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.rescued")
        for left in (draft, self.path.with_name(f"{self.path.name}-wal")):
            left.unlink(missing_ok=True)
        self.db.execute("VACUUM INTO ?", (str(draft),))
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(self.path)

    def accounted(self) -> bool:
        """Whether every record either waits or was delivered: a wrong byte in the queue's own pages takes records out of it in silence.

        And whether the index of the records is in its order, with no stream but ours and no number above its head: among entries that are
        not, new ones would be taken for known, or not be found again.
        """
        heads = {identity: head for identity, head in self.db.execute("SELECT id, head FROM stream") if type(head) is int}
        query = "SELECT stream, count(*), sum(id), max(seq) FROM record GROUP BY stream"  # walks along the index
        groups = cast("list[tuple[int, int, int, object]]", self.db.execute(query).fetchall())
        if len({group[0] for group in groups}) < len(groups) or not all(_upto(last, heads.get(of)) for of, _, _, last in groups):
            return False
        queries = [f"FROM waiting WHERE kind = '{kind}' AND resent = 0" for kind in ("E", "T")]
        sides = [self._rows(query) for query in (*queries, "FROM delivered")]
        records = (sum(group[1] for group in groups), sum(group[2] for group in groups))
        return records == (sum(count for count, _ in sides), sum(total for _, total in sides))

    def _rows(self, query: str) -> tuple[int, int]:
        """Return how many rows there are, and the sum of their names: one that rotted into the name of another keeps the first."""
        found = self.db.execute(f"SELECT count(*), coalesce(sum(id), 0) {query}").fetchall()
        return cast("tuple[int, int]", found[0])

    def counts(self) -> dict[str, int]:
        """Return how many records wait per kind (``E``, ``T``) and how many are kept after delivery (``delivered``)."""
        found = dict(self.db.execute("SELECT kind, count(*) FROM waiting GROUP BY kind"))  # a kind that rotted counts nothing
        return {"E": found.get("E", 0), "T": found.get("T", 0), "delivered": self.db.execute("SELECT count(*) FROM delivered").get}


def _upto(last: object, head: int | None) -> bool:
    """Whether a number is one, and not above the head of its stream, which is None where there is no such stream."""
    return type(last) is int and head is not None and last <= head
