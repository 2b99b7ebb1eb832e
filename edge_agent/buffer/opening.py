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
from edge_agent.buffer.witness import contradiction, true_epoch
from edge_agent.model.errors import StorageError

DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError)
"""What is raised when the file itself is wrong, not the disk under it: text that is no UTF-8 is never written, and statements that
the tables do not understand were right when these were made (a flipped byte in the schema or in the header's format numbers)."""
_CHECK_SECONDS = 5.0


class DamagedError(apsw.CorruptError):
    """A store that was open and turned out to be damaged; ``cut``: the end of its log may be missing besides."""

    def __init__(self, cause: Exception, *, cut: bool) -> None:
        """Say what ``cause`` says."""
        super().__init__(str(cause) or type(cause).__name__)
        self.cut = cut


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
        return replace_store(directory, wal_pages, prefix, error)


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
        if store.commits_behind_log > 1:
            raise apsw.CorruptError(f"{store.commits_behind_log} commits stand behind a damaged place in the log")  # noqa: TRY301 - handled like SQLite's own findings
        beside = remembered(directory)
        epoch, said = true_epoch(store, beside), store.words("epoch")
        fresh = said is None and epoch in {None, beside} and store.unused()
        if fresh:
            epoch = _create(store, damage.epoch if damage else beside)
        elif epoch is None or epoch != said:
            raise apsw.CorruptError(  # noqa: TRY301 - handled like SQLite's own findings
                f"its epoch is noted as {said}, while its runs, its streams and the file beside it know {epoch or 'no such one'}"
            )
        elif store.words("clean") != "1":  # a check costs seconds: only after a crash
            store.check(_CHECK_SECONDS)
        if (wrong := contradiction(store, epoch)) is not None:
            raise apsw.CorruptError(wrong)  # noqa: TRY301 - handled like SQLite's own findings
        if not store.accounted():
            raise apsw.CorruptError("there are records that neither wait nor were delivered")  # noqa: TRY301 - handled like SQLite's own findings
        store.checkpoint()
        with store.transaction():
            store.put("clean", "0")
        if remembered(directory) != epoch:
            remember(directory, epoch)
        return Opened(store, epoch, store.get("previous_epoch"), fresh, store.number("age") or 0, damage)
    except DAMAGED as error:
        store.close(failed=True)
        raise DamagedError(error, cut=store.log_doubtful) from error
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


def replace_store(directory: Path, wal_pages: int, prefix: str, error: Exception) -> Opened:
    """Put the damaged store, which is closed, aside and go on with a new one. Raises StorageError, apsw.Error, OSError."""
    cut = isinstance(error, DamagedError) and error.cut
    aside = set_aside(directory)
    damage = Damage(str(aside), remembered(directory), str(error) or type(error).__name__)
    opened = _open(directory, directory / DATABASE, wal_pages, None, damage)
    try:
        saved = salvage(aside, opened.store, wal_pages, prefix, damage.epoch)
        damage = msgspec.structs.replace(
            damage, epoch=saved.epoch, saved=saved.records, lost=tuple(saved.lost), cut=cut or saved.cut
        )
    except Exception as failure:  # noqa: BLE001 - garbage may raise anything: the log is told here, and receivers by the agent from `damage`
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
