"""Who owns the directory, and which store it is: the lock, the epoch, the identity file, and what happens to a damaged store."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from pathlib import Path

import msgspec

from edge_agent.model.errors import ConfigError, StorageError, TakenError
from edge_agent.model.outside import from_json
from edge_agent.model.stream import Checkpoint

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DATABASE = "buffer.db"
"""The file name of the store; the write-ahead log stands beside it with ``-wal``."""
LOCK = "lock"
"""The file beside it that says which process may use the directory."""
_VISITOR = " visitor"
_PATIENCE = 10.0
"""Machine seconds that an agent waits for a command to end."""


def new_epoch() -> str:
    """Return a ULID (https://github.com/ulid/spec): 48 bits of wall-clock ms, 80 random bits, 26 Crockford base-32 digits."""
    number = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Damage(msgspec.Struct, frozen=True):
    """A store that could not be used any more: where it was put aside (empty: nothing was left of it), its epoch when known, and why.

    ``saved`` is the number of undelivered records that moved into the new store, ``letters`` that of dead letters, ``lost`` the ranges (stream, first, last) that a
    `collection.gap{corruption}` in the old epoch's streams declares there. Both are None when not even the list of streams could be
    read: then nobody knows what waited, and the agent has to say so. So it has when the log was ``cut``: then nobody knows how the streams ended.
    ``states`` are then those of the rules as far as the log goes: too old to go on from without a word, so they do not stand in the new store.

    ``before`` are damages that this store had not declared yet. ``earlier``: found by a start before this one, which ended before it could
    say so. ``settled``: the streams have gone on since, and must not go back to what was known at that time.
    """

    set_aside: str
    epoch: str | None
    error: str
    saved: int | None = None
    lost: tuple[tuple[str, int, int], ...] | None = None
    cut: bool = False
    letters: int = 0
    states: tuple[Checkpoint, ...] = ()
    before: tuple[Damage, ...] = ()
    earlier: bool = False
    settled: bool = False

    @property
    def unknown(self) -> bool:
        """Whether nobody knows what else waited there."""
        return self.saved is None or self.cut


class Lock:
    """The right to use a buffer directory: ``flock`` on a file in it, released by the kernel when the process ends, however it ends."""

    def __init__(self, directory: Path, *, visitor: bool = False) -> None:
        """Mean the lock of ``directory``; `hold` takes it.

        A ``visitor`` is a command that will give it back: an agent waits some seconds for it, then raises StorageError, so that systemd
        tries again.
        """
        self._directory, self._visitor, self._fd = directory, visitor, -1

    def hold(self) -> None:
        """Make the directory (mode 0700) and take the lock, unless it is held already; again where its file was deleted or replaced.

        Raises ConfigError when another agent has it or the path cannot be a directory of ours, OSError when the disk is in the way.
        """
        if self._fd >= 0 and self._in_place(self._fd):
            return
        patience = 0.0 if self._visitor or self._fd >= 0 else _PATIENCE
        taken = self._taken(patience)
        self.release()
        self._fd = taken
        try:
            os.ftruncate(taken, 0)
            os.pwrite(taken, f"{os.getpid()}{_VISITOR if self._visitor else ''}\n".encode(), 0)
        except OSError:
            pass  # a full or read-only disk takes the courtesy of the number away, not the lock

    def _in_place(self, fd: int) -> bool:
        """Whether others who come meet the file that is open here: a lock on one that was deleted keeps nobody out."""
        try:
            return os.path.samestat(os.fstat(fd), (self._directory / LOCK).stat())
        except FileNotFoundError:
            return False

    def _taken(self, patience: float) -> int:
        while True:
            fd = _open_lock(self._directory)
            try:
                self._take(fd, self._directory, patience)
                if self._in_place(fd):  # not deleted between opening and locking
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _take(self, fd: int, directory: Path, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "unknown"
                pid = holder.removesuffix(_VISITOR)
                if pid == holder:
                    raise TakenError(
                        f"buffer.path: another agent (process {pid}) is using {directory.absolute()}; stop it or choose another path"
                    ) from error
                if time.monotonic() >= end:
                    raise StorageError(
                        f"`edge-agent buffer` (process {pid}) is using {directory}; wait for its end, or end it"
                    ) from error
                time.sleep(0.05)
            else:
                return

    def release(self) -> None:
        """Give the directory back, if it is held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_DISK = {errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ENODEV}
"""What a disk says that is out of order, full, or mounted read-only; it may pass, and no change of the configuration mends it."""


def _open_lock(directory: Path) -> int:
    """Open the lock file; one that exists can be locked without being written. Raises ConfigError, OSError."""
    there = directory.is_dir()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _DISK or (there and error.errno in {errno.EACCES, errno.EPERM, errno.ENOENT}):
            raise  # a directory of ours that lost its permissions, or a disk in trouble
        raise ConfigError(
            f"buffer.path: cannot use {directory.absolute()}: {error.strerror}; name a directory that this user may make and write"
        ) from error


class Identity(msgspec.Struct, frozen=True):
    """What is remembered of the store outside of it."""

    epoch: str


def remembered(directory: Path) -> str | None:
    """Return the epoch in the identity file, None when there is none or it cannot be read."""
    try:
        return from_json((directory / "identity.json").read_bytes(), Identity).epoch
    except (OSError, ValueError):
        return None


def remember(directory: Path, epoch: str) -> None:
    """Write the identity file so that a power cut leaves the old or the new one. Raises OSError."""
    draft = directory / "identity.json.new"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(Identity(epoch)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / "identity.json")
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make names in ``directory`` survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(directory: Path) -> Path:
    """Rename a damaged store with its log to ``buffer.db.corrupt-<UTC>`` and return the new path. Nothing is deleted. Raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = directory / f"{DATABASE}.corrupt-{stamp}"
    number = 1
    while target.exists():
        target, number = directory / f"{DATABASE}.corrupt-{stamp}-{number}", number + 1
    # The database first: should the power fail in between, a database without its log would look whole and give numbers twice.
    for suffix in ("", "-wal", "-journal"):
        source = directory / f"{DATABASE}{suffix}"
        if source.exists():
            source.rename(f"{target}{suffix}")
    sync_directory(directory)
    return target
