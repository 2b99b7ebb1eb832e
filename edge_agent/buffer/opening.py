"""Opens the store of a directory, whatever state it is in: new, whole, damaged, gone. It never needs a person to delete files.

A store that cannot be read is put aside under another name, a new one with a new epoch takes its place, and the undelivered records
that are still readable move over with their old numbers.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec
import structlog

from edge_agent.buffer.identity import DATABASE, Damage, new_epoch, remember, remembered, set_aside
from edge_agent.buffer.salvage import salvage
from edge_agent.buffer.store import Store
from edge_agent.model.errors import StorageError

DAMAGED = (apsw.CorruptError, apsw.NotADBError)
"""What SQLite raises when the file itself is wrong, not the disk under it."""
_CHECK_SECONDS = 5.0


class Opened(msgspec.Struct):
    """An open store and what is known of it."""

    store: Store
    epoch: str
    previous: str | None
    fresh: bool
    age: int
    damage: Damage | None = None


def open_store(directory: Path, wal_pages: int, vfs: str | None, prefix: str, *, as_found: bool = False) -> Opened:
    """Open or create the store in ``directory``. Raises ConfigError, StorageError, apsw.Error, OSError.

    ``as_found``: a store that is missing or damaged is refused and left as it is; to replace it is the agent's part, which declares it.
    """
    path = directory / DATABASE
    if as_found:
        return _open_as_found(directory, path, wal_pages)
    if vfs is None and not path.exists() and path.with_name(f"{DATABASE}-wal").exists():
        set_aside(directory)  # a log without its database: a power cut while a damaged store was put aside
    try:
        return _open(directory, path, wal_pages, vfs)
    except DAMAGED as error:
        if vfs is not None:
            raise
        return _replace(directory, path, wal_pages, prefix, error)


def _open_as_found(directory: Path, path: Path, wal_pages: int) -> Opened:
    if not path.exists() or path.stat().st_size == 0:
        raise StorageError(f"there is no store in {directory}")
    try:
        return _open(directory, path, wal_pages, None)
    except DAMAGED as error:
        raise StorageError(
            f"the store in {directory} is damaged ({error}) and was left as it is; "
            "the next start of the agent puts it aside and saves what can be read"
        ) from error


def _open(directory: Path, path: Path, wal_pages: int, vfs: str | None, damage: Damage | None = None) -> Opened:
    store = Store(path, wal_pages, vfs)
    try:
        epoch = store.get("epoch")
        fresh = epoch is None
        if epoch is None:
            epoch = _create(store, damage.epoch if damage else remembered(directory))
        elif store.get("clean") != "1":  # a check costs seconds: only after a crash
            store.check(_CHECK_SECONDS)
        store.checkpoint()
        with store.transaction():
            store.put("clean", "0")
        if remembered(directory) != epoch:
            remember(directory, epoch)
        return Opened(store, epoch, store.get("previous_epoch"), fresh, int(store.get("age") or 0), damage)
    except BaseException:
        store.close(failed=True)
        raise


def _create(store: Store, previous: str | None) -> str:
    epoch = new_epoch()
    with store.transaction():
        store.put("previous_epoch", previous)
        store.put("age", "0")
        store.put("epoch", epoch)
    return epoch


def _replace(directory: Path, path: Path, wal_pages: int, prefix: str, error: apsw.Error) -> Opened:
    """Put the damaged store aside and go on with a new one."""
    aside = set_aside(directory)
    damage = Damage(str(aside), remembered(directory), str(error) or type(error).__name__)
    opened = _open(directory, path, wal_pages, None, damage)
    try:
        saved = salvage(aside, opened.store, wal_pages, prefix)
        damage = msgspec.structs.replace(damage, epoch=saved.epoch, saved=saved.records, lost=tuple(saved.lost))
    except (
        apsw.Error,
        OSError,
        StorageError,
    ) as failure:  # told below: what cannot be saved is declared by the agent from `damage`
        structlog.get_logger().warning("buffer.salvage_failed", file=str(aside), error=str(failure))
    opened.damage = damage
    structlog.get_logger().error(
        "buffer.damaged",
        file=str(aside),
        error=damage.error,
        epoch=opened.epoch,
        previous=damage.epoch,
        saved=damage.saved,
        lost=damage.lost,
    )
    return opened
