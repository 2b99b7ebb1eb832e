"""The books in a SQLite file: for one line, a test, or an MES that reads files. apsw, so that the version is ours (decision 0003)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw

from edge_agent.consumer.row import Cell
from edge_agent.model.errors import StorageError, TakenError

_BUSY_MS = 5_000


class SQLite:
    """A `Database` in a file. WAL, so that others read while it writes; ``synchronous=FULL``, so that a commit outlives the power."""

    def __init__(self, file: Path) -> None:
        """Open ``file``, which is made if it is not there. Raises StorageError."""
        self._file = file
        self._lock: int | None = None
        self._connection = self._connect()

    def _connect(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(str(self._file))
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except apsw.Error as error:
            raise StorageError(f"{self._file}: {error}") from error
        return connection

    def claim(self, patience: float = 0.0) -> None:  # noqa: ARG002 - a dead process holds no lock, so there is nothing to wait for
        """Lock the file beside it that says who writes."""
        beside = self._file.with_name(f"{self._file.name}.lock")
        try:
            lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{beside}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise TakenError(
                f"{self._file} is written by another consumer; stop that one, or give this one a database of its own"
            ) from None
        self._lock = lock

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database`."""
        self.write("BEGIN IMMEDIATE")
        try:
            yield
            self.write("COMMIT")
        except BaseException:
            with contextlib.suppress(StorageError):  # what failed first is told
                if self._connection.in_transaction:
                    self.write("ROLLBACK")
            raise

    def read(self, sql: str, values: Sequence[Cell] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        try:
            return list(self._connection.execute(sql, [_plain(value) for value in values]))
        except apsw.Error as error:
            raise StorageError(f"{self._file}: {error}") from error

    def write(self, sql: str, values: Sequence[Cell] = ()) -> int:
        """See `Database`."""
        self.read(sql, values)
        return self._connection.changes()

    def reopen(self) -> None:
        """See `Database`."""
        with contextlib.suppress(apsw.Error):  # it is broken anyway
            self._connection.close()
        self._connection = self._connect()

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _plain(value: Cell) -> Any:
    """Return what SQLite takes: amounts as integers where they are whole."""
    if not isinstance(value, Decimal):
        return value
    whole = value == value.to_integral_value() and abs(value) < 1 << 63
    return int(value) if whole else float(value)
