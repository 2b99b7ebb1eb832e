"""The books in PostgreSQL 13 or newer, by psycopg 3 (extra ``consumer``)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from edge_agent.consumer.row import Cell
from edge_agent.model.errors import ConfigError, StorageError, TakenError

_CLAIM = 7_341_120_614
"""The number of the advisory lock that says who writes; any number that other programs are unlikely to use."""

_PATIENCE = 10.0
"""Seconds for which a claim is tried."""


class PostgreSQL:
    """A `Database` on a server. The session's ``synchronous_commit`` is ``on``, whatever the server's default."""

    def __init__(self, url: str, password_file: Path | None) -> None:
        """Connect to ``url``; the password, if one is needed, stands in ``password_file``. Raises ConfigError, StorageError."""
        self._url, self._password_file = url, password_file
        self._claimed = False
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        password = None if self._password_file is None else _password(self._password_file)
        try:
            connection = psycopg.connect(
                self._url, password=password, autocommit=True, connect_timeout=10, application_name="edge-agent-consumer"
            )
            connection.execute("SET synchronous_commit = on")
            connection.execute("SET client_min_messages = warning")
        except psycopg.Error as error:
            raise StorageError(f"PostgreSQL: {_words(error)}") from error
        return connection

    def claim(self, patience: float = _PATIENCE) -> None:
        """Take the advisory lock of this database; the server may need a moment to see that the one before us is gone."""
        until = time.monotonic() + patience
        while self.read("SELECT pg_try_advisory_lock(?)", (_CLAIM,)) != [(True,)]:
            if time.monotonic() >= until:
                raise TakenError(
                    "this database is written by another consumer; stop that one, or give this one a database of its own"
                )
            time.sleep(0.1)
        self._claimed = True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Database`."""
        try:
            with self._connection.transaction():
                yield
        except psycopg.Error as error:
            raise StorageError(f"PostgreSQL: {_words(error)}") from error

    def read(self, sql: str, values: Sequence[Cell] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        cursor = self._execute(sql, values)
        return cursor.fetchall()

    def write(self, sql: str, values: Sequence[Cell] = ()) -> int:
        """See `Database`."""
        return self._execute(sql, values).rowcount

    def _execute(self, sql: str, values: Sequence[Cell]) -> psycopg.Cursor[tuple[Any, ...]]:
        try:
            if not values:
                return self._connection.execute(sql)
            return self._connection.execute(sql.replace("?", "%s"), values)
        except psycopg.Error as error:
            raise StorageError(f"PostgreSQL: {_words(error)}") from error

    def reopen(self) -> None:
        """See `Database`."""
        with contextlib.suppress(psycopg.Error):  # it is broken anyway
            self._connection.close()
        self._connection = self._connect()
        if self._claimed:
            try:
                self.claim()
            except TakenError as error:  # the server still holds our dead connection, or somebody has taken over: either may pass
                raise StorageError(str(error)) from error

    def close(self) -> None:
        """See `Database`."""
        self._connection.close()


def _password(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o007:
            raise ConfigError(f"--password-file {file} can be read by everybody; chmod 600 {file}")
        return file.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise ConfigError(f"--password-file {file}: {error.strerror}") from error


def _words(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
