"""Opens the store of a directory, whatever state it is in: new, whole, damaged, gone. It never needs a person to delete files.

A store that cannot be read is put aside under another name, a new one with a new epoch takes its place, and the undelivered records
that are still readable move over with their old numbers.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import msgspec
import structlog

from edge_agent.buffer.identity import DATABASE, Damage, new_epoch, remember, remembered, set_aside
from edge_agent.buffer.noted import note, noted, with_earlier
from edge_agent.buffer.salvage import UNSAVED, Saved, salvage
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
    """An open store and what is known of it.

    ``damage`` is what is not declared yet. ``unsaved`` is the file of the store before, as long as nobody has saved from it what can be read.
    """

    store: Store
    epoch: str
    previous: str | None
    fresh: bool
    age: int
    damage: Damage | None = None
    unsaved: str | None = None


def open_store(
    directory: Path, wal_pages: int, vfs: str | None, prefix: str, *, as_found: bool = False, known: Damage | None = None
) -> Opened:
    """Open or create the store in ``directory``. Raises ConfigError, StorageError, apsw.Error, OSError.

    ``as_found``: a store that is missing or damaged is refused and left as it is; to replace it is the agent's part, which declares it.
    ``known`` is what became of the store where it is not there any more, if the caller knows.
    """
    path = directory / DATABASE
    if as_found:
        return _open_as_found(directory, path, wal_pages)
    orphan = None
    if vfs is None and not path.exists() and path.with_name(f"{DATABASE}-wal").exists():
        orphan = set_aside(directory)  # a log without its database: a power cut while a damaged store was put aside
        known = _gone(path, orphan, remembered(directory))
    try:
        opened = _open(directory, path, wal_pages, vfs, known)
    except DAMAGED as error:
        if vfs is not None:
            raise
        return replace_store(directory, wal_pages, prefix, error)
    if opened.unsaved is not None:
        unknown = Damage("", opened.previous, "what it was put aside for is not known", cut=True)
        return _save(opened, directory / opened.unsaved, wal_pages, prefix, opened.damage or unknown)
    return opened


def _gone(path: Path, orphan: Path | None, previous: str | None) -> Damage:
    """Say that a store was here and is not any more: what waited in it is lost, and only the agent can tell a receiver."""
    left = f"{orphan}-wal" if orphan else ""
    error = f"{path} is gone or empty" + (", only its log was left" if left else "")
    structlog.get_logger().error("buffer.gone", file=str(path), previous=previous, log=left)
    return Damage(left, previous, error)


def _open_as_found(directory: Path, path: Path, wal_pages: int) -> Opened:
    if not path.exists() or path.stat().st_size == 0:
        raise StorageError(f"there is no store in {directory}")
    try:
        opened = _open(directory, path, wal_pages, None)
    except DAMAGED as error:
        raise StorageError(
            f"the store in {directory} is damaged ({error}) and was left as it is; "
            "`edge-agent buffer export` reads it, and the next start of the agent puts it aside and saves what can be read"
        ) from error
    opened.damage = None  # of a store before this one; the next start of the agent declares it
    return opened


def _open(
    directory: Path, path: Path, wal_pages: int, vfs: str | None, known: Damage | None = None, aside: Path | None = None
) -> Opened:
    """Open the store; a new one notes what is ``known`` of the one before, and the file ``aside`` from which something may be saved."""
    store = Store(path, wal_pages, vfs)
    try:
        if store.commits_behind_log > 1:
            raise apsw.CorruptError(f"{store.commits_behind_log} commits stand behind a damaged place in the log")  # noqa: TRY301 - handled like SQLite's own findings
        beside = remembered(directory)
        epoch, said = true_epoch(store, beside), store.words("epoch")
        fresh = said is None and epoch in {None, beside} and store.unused()
        if fresh:
            known = known or (_gone(path, None, beside) if beside is not None else None)
            epoch = _create(store, beside, known, None if aside is None else aside.name)
        elif epoch is None or epoch != said:
            raise apsw.CorruptError(  # noqa: TRY301 - handled like SQLite's own findings
                f"its epoch is noted as {said}, while its runs, its streams and the file beside it know {epoch or 'no such one'}"
            )
        elif store.words("clean") != "1":  # a check costs seconds: only after a crash
            store.check(_CHECK_SECONDS)
        if (wrong := contradiction(store, epoch)) is not None:
            raise apsw.CorruptError(wrong)  # noqa: TRY301 - handled like SQLite's own findings
        if not store.accounted():
            raise apsw.CorruptError("there are records that neither wait nor were delivered, or whose index is out of order")  # noqa: TRY301 - handled like SQLite's own findings
        store.checkpoint()
        with store.transaction():
            store.put("clean", "0")
        if remembered(directory) != epoch:
            remember(directory, epoch)
        damage = known if fresh else noted(store)
        return Opened(store, epoch, store.get("previous_epoch"), fresh, store.number("age") or 0, damage, store.words(UNSAVED))
    except DAMAGED as error:
        store.close(failed=True)
        raise DamagedError(error, cut=store.log_doubtful) from error
    except BaseException:
        store.close(failed=True)
        raise


def _create(store: Store, beside: str | None, known: Damage | None, aside: str | None) -> str:
    """Begin the first epoch of a new store, and note there what a receiver has to be told of the one before; return it.

    Of the epoch before only the identity file tells, ``beside``: one epoch behind where a kill came first, and another store's where somebody
    copied it. Where a store was put aside (the file ``aside``) its own witnesses are asked by salvage, which puts that right.
    """
    epoch = new_epoch()
    with store.transaction():
        store.put("previous_epoch", beside)
        if known is not None:
            note(store, known)
        if aside is not None:
            store.put(UNSAVED, aside)
        store.put_number("age", 0)
        store.put("epoch", epoch)
    return epoch


def replace_store(directory: Path, wal_pages: int, prefix: str, error: Exception) -> Opened:
    """Put the damaged store, which is closed, aside and go on with a new one. Raises StorageError, apsw.Error, OSError."""
    cut = isinstance(error, DamagedError) and error.cut
    aside = set_aside(directory)
    damage = Damage(str(aside), remembered(directory), str(error) or type(error).__name__, cut=cut)
    opened = _open(directory, directory / DATABASE, wal_pages, None, damage, aside)
    return _save(opened, aside, wal_pages, prefix, damage)


def _save(opened: Opened, aside: Path, wal_pages: int, prefix: str, known: Damage) -> Opened:
    """Save what can be read of the store that was put aside, in one transaction: a kill before its end is made good by the next start."""
    damage = msgspec.structs.replace(known, set_aside=str(aside), epoch=opened.previous, earlier=False, settled=False)

    def done(saved: Saved) -> None:
        """What was lost is noted where the rest has moved, or neither is."""
        note(opened.store, _told(damage, saved))

    try:
        saved = salvage(aside, opened.store, wal_pages, prefix, damage.epoch, done)
        damage, opened.previous = _told(damage, saved), saved.epoch
    except Exception as failure:  # noqa: BLE001 - garbage may raise anything: the log is told here, and receivers by the agent from `damage`
        structlog.get_logger().warning("buffer.salvage_failed", file=str(aside), error=str(failure))
        with contextlib.suppress(apsw.Error), opened.store.transaction():  # the next commit tells what is wrong with the disk
            opened.store.put(UNSAVED, None)
            note(opened.store, damage)
    except BaseException:
        opened.store.close(failed=True)
        raise
    opened.damage = damage
    structlog.get_logger().error(
        "buffer.damaged",
        file=str(aside),
        error=damage.error,
        epoch=opened.epoch,
        previous=damage.epoch,
        saved=damage.saved,
        letters=damage.letters,
        lost=damage.lost,
    )
    return opened


def _told(damage: Damage, saved: Saved) -> Damage:
    """Return ``damage`` with what could be saved all the same."""
    more = msgspec.structs.replace(
        damage,
        epoch=saved.epoch,
        saved=saved.records,
        lost=tuple(saved.lost),
        cut=damage.cut or saved.cut,
        letters=saved.letters,
        states=tuple(saved.states),
    )
    return with_earlier(more, saved.earlier)
