"""The tables of the store, as numbered migrations, and how a connection to them is opened.

``PRAGMA user_version`` counts the migrations that were applied. A migration is never edited once released; a change is a new one.
What each table and column means stands in docs/buffer-format.md.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import structlog

from edge_agent.model.errors import ConfigError

APPLICATION_ID = 0x45414246
"""``EABF`` in ASCII: tells ``file`` and the agent whose database this is."""

SYNCHRONOUS = "FULL"
"""What makes a commit survive a power cut: NORMAL syncs the log only at checkpoints (https://sqlite.org/pragma.html#pragma_synchronous)."""

PAGE = 4096
"""Bytes of one page."""

CACHE = 2048
"""KiB of pages in memory, SQLite's own default: a busy agent fills whatever it is given, and reads back little but what it has just written."""

MIGRATIONS = (
    """
    CREATE TABLE store (key TEXT PRIMARY KEY, value TEXT) STRICT, WITHOUT ROWID;
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, name TEXT NOT NULL,
        head INTEGER NOT NULL, settled INTEGER NOT NULL, UNIQUE (epoch, name)) STRICT;
    CREATE TABLE record (
        id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, type TEXT NOT NULL,
        time INTEGER NOT NULL, recorded INTEGER NOT NULL, correlation TEXT, causation TEXT, samples INTEGER NOT NULL,
        loss_from INTEGER, crc INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (stream, seq)) STRICT;
    CREATE TABLE waiting (kind TEXT NOT NULL, id INTEGER NOT NULL, resent INTEGER NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
    CREATE TABLE delivered (id INTEGER PRIMARY KEY, age INTEGER NOT NULL) STRICT;
    CREATE TABLE dead_letter (
        id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, type TEXT NOT NULL,
        time INTEGER NOT NULL, recorded INTEGER NOT NULL, correlation TEXT, causation TEXT, samples INTEGER NOT NULL,
        reason TEXT NOT NULL, detail TEXT NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE TABLE state (
        owner TEXT NOT NULL, rule TEXT NOT NULL, crc INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (owner, rule)) STRICT, WITHOUT ROWID;
    CREATE TABLE owner (name TEXT PRIMARY KEY, last_seen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    """,
)


_NOTE_FORMAT = "INSERT INTO store VALUES ('format', ?) ON CONFLICT DO UPDATE SET value = excluded.value"


def open_database(path: Path, wal_pages: int, vfs: str | None = None) -> apsw.Connection:
    """Open (or create) the database file and bring its tables to the newest schema.

    The connection belongs to the calling thread. Raises ConfigError for a store of a newer program or a file of another one,
    apsw.Error for everything the disk or the file says.
    """
    connection = apsw.Connection(str(path), vfs=vfs)
    try:
        _set_up(connection, wal_pages)
        _migrate(connection, path)
    except BaseException:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # closing a damaged database would take its log away
        connection.close(True)
        raise
    return connection


def _set_up(connection: apsw.Connection, wal_pages: int) -> None:
    """One connection that owns the file: with EXCLUSIVE before WAL the index of the log lives in memory and needs no shared file."""
    for name, value in (
        ("page_size", PAGE),
        ("locking_mode", "EXCLUSIVE"),
        ("journal_mode", "WAL"),
        ("synchronous", SYNCHRONOUS),
        ("wal_autocheckpoint", wal_pages),
        ("journal_size_limit", wal_pages * PAGE),
        ("cell_size_check", "ON"),
        ("trusted_schema", "OFF"),
        ("temp_store", "MEMORY"),
        ("cache_size", -CACHE),
    ):
        connection.pragma(name, value)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    version, application = connection.pragma("user_version"), connection.pragma("application_id")
    if version > len(MIGRATIONS) or application not in {0, APPLICATION_ID}:
        version, application = _believed(connection, version, application)
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"{path}: written by a newer edge-agent (format {version}, this one knows {len(MIGRATIONS)}); "
            "install that version again, or choose another buffer.path"
        )
    if application not in {0, APPLICATION_ID} or (application == 0 and connection.pragma("schema_version")):
        raise ConfigError(f"{path}: not a buffer of edge-agent; choose another buffer.path")
    if version == len(MIGRATIONS):
        with contextlib.suppress(apsw.CorruptError):  # told when the other facts are read; salvage does without any
            if _format_inside(connection) is None:
                connection.execute(_NOTE_FORMAT, (str(version),))
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(MIGRATIONS))
        connection.execute(_NOTE_FORMAT, (str(len(MIGRATIONS)),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _believed(connection: apsw.Connection, version: int, application: int) -> tuple[int, int]:
    """Return the format and application to go by: a header that contradicts our own tables is a damaged header, and is put right."""
    inside = _format_inside(connection)
    if inside is None or inside > len(MIGRATIONS):
        return version, application
    structlog.get_logger().error("buffer.header_damaged", format=version, application=hex(application), put_right=inside)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", inside)
    return inside, APPLICATION_ID


def _format_inside(connection: apsw.Connection) -> int | None:
    """Return the format that the store notes among its facts; None where there is no such fact, or no text any more."""
    try:
        found = connection.execute("SELECT value FROM store WHERE key = 'format'").get
    except (apsw.SQLError, UnicodeDecodeError):  # of another program, or rotten
        return None
    return int(found) if isinstance(found, str) and found.isdecimal() else None
