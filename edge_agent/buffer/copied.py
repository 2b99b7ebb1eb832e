"""A copy of a store for those who read it and may not change it: of a dead gateway, of a failing disk, on a read-only medium.

SQLite cannot take the log of a store in without writing beside it, and salvage moves the file. So both happen to the copy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import apsw

from edge_agent.buffer.identity import DATABASE, LOCK
from edge_agent.buffer.log import read_log
from edge_agent.buffer.schema import PAGE
from edge_agent.model.errors import StorageError

_FILES = (DATABASE, f"{DATABASE}-wal", "identity.json")
_BLOCK = 256 * PAGE


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """Give a folder with a copy of the store in ``directory``, in which nothing is changed; the copy is deleted at the end.

    Pages that the medium cannot read are zeros in the copy. Raises StorageError where the room for
    the copy is missing or somebody uses the store, OSError.
    """
    _at_rest(directory)
    before = _state(directory)
    need = 2 * sum(size for _, size, _ in before)
    place = Path(tempfile.gettempdir())
    if (free := shutil.disk_usage(place).free) < need:
        raise StorageError(
            f"reading {directory} without changing it takes a copy, and up to {need >> 20} MiB in {place}, where {free >> 20} MiB are free; "
            "name a folder with more room: TMPDIR=FOLDER edge-agent ..."
        )
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as folder:
        for name, _, _ in before:
            _copy(directory / name, Path(folder) / name)
        _at_rest(directory)
        if _state(directory) != before:
            raise StorageError(f"the store in {directory} changed while it was copied: somebody writes to it; run it again")
        yield Path(folder)


def log_in_doubt(folder: Path) -> str | None:
    """Return what is wrong with the log of a copied store that opening it does not tell: it is not there, or the file ends in the middle of a write."""
    if (folder / f"{DATABASE}-wal").exists():
        if read_log(folder / DATABASE).ragged:
            return f"{DATABASE}-wal ends in the middle of a write, as a power cut leaves it, or a copy that is not complete"
        return None
    try:
        uri = f"file:{quote(str(folder / DATABASE))}?immutable=1"
        with closing(apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)) as database:
            closed = database.execute("SELECT value FROM store WHERE key = 'clean'").get == "1"
    except apsw.Error:  # no store of ours, or a damaged one: opening it tells
        return None
    if closed:
        return None
    return f"{DATABASE}-wal is missing, and the store was not closed: copy it along, for what was written last stands there"


def _at_rest(directory: Path) -> None:
    """Look whether an agent holds the lock, without taking it: a lock file that is not there or cannot be read holds nobody off."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        process = os.pread(fd, 64, 0).decode("ascii", "replace").split() or ["unknown"]
        raise StorageError(
            f"an agent or a command (process {process[0]}) is using {directory.absolute()}; "
            "stop it first, or ask the agent itself by its configuration (--config FOLDER instead of --store)"
        ) from error
    except OSError:  # a file system without locks
        return
    finally:
        os.close(fd)


def _state(directory: Path) -> list[tuple[str, int, int]]:
    """Return (name, bytes, modified at) of the files of a store that are there."""
    found = []
    for name in _FILES:
        try:
            status = (directory / name).stat()
        except FileNotFoundError:
            continue
        found.append((name, status.st_size, status.st_mtime_ns))
    return found


def _copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        for start in range(0, size, _BLOCK):
            new.seek(start)
            new.write(_read(old.fileno(), min(_BLOCK, size - start), start))
        new.truncate(size)


def _read(fd: int, length: int, start: int) -> bytes:
    """Return bytes of a file, zeros for the pages that the medium cannot read."""
    try:
        return os.pread(fd, length, start)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    if length <= PAGE:
        return bytes(length)
    return b"".join(_read(fd, min(PAGE, length - offset), start + offset) for offset in range(0, length, PAGE))
