"""A VFS under the real buffer: records what was written and synced, makes images of a power cut from it, and fails on request."""

# ruff: noqa: N802 - the methods are named by SQLite
from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

SECTOR = 512


class Write(NamedTuple):
    """Bytes handed to the kernel; on the medium only after a sync, and perhaps in part before."""

    name: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file cut to ``size``."""

    name: str
    size: int


class Sync(NamedTuple):
    """Everything written to the file before is on the medium."""

    name: str


class Delete(NamedTuple):
    """A file removed."""

    name: str


class Mark(NamedTuple):
    """The test's own note in the log."""

    text: str


Operation = Write | Truncate | Sync | Delete | Mark


class RecordingVFS(apsw.VFS):
    """Passes everything to the system's VFS and keeps a log. ``fault(operation, file name)`` may raise what the disk would say."""

    def __init__(self, name: str, *, log: bool = True) -> None:
        """Register under ``name``. Without ``log`` it only leaves out the syncs: for tests that are about something else."""
        self.keeps_log = log
        self.name = name
        self.log: list[Operation] = []
        self.repeated_syncs = 0
        self.fault: Callable[[str, str], None] = lambda operation, name: None
        super().__init__(name, "")

    def xOpen(self, name, flags):
        """Open a file of ours."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.fault("open", Path(path or "temporary").name)
        return RecordingFile(self, name, flags, Path(path).name if path else "temporary")

    def xDelete(self, filename, syncdir):
        """Remove a file."""
        self.fault("delete", Path(filename).name)
        super().xDelete(filename, syncdir)
        self.log.append(Delete(Path(filename).name))


class RecordingFile(apsw.VFSFile):
    """One open file of a `RecordingVFS`."""

    def __init__(self, vfs: RecordingVFS, name: object, flags: list[int], label: str) -> None:
        """Open it in the system's VFS."""
        self._vfs, self._label, self._failed = vfs, label, False
        super().__init__("", name, flags)

    def xWrite(self, data, offset):
        """Write and log."""
        self._vfs.fault("write", self._label)
        super().xWrite(data, offset)
        if self._vfs.keeps_log:
            self._vfs.log.append(Write(self._label, offset, bytes(data)))

    def xTruncate(self, size):
        """Truncate and log."""
        self._vfs.fault("truncate", self._label)
        super().xTruncate(size)
        self._vfs.log.append(Truncate(self._label, size))

    def xSync(self, flags):
        """Log the sync; the test's own files need none. A sync on a handle whose sync has failed proves nothing and is counted."""
        self._vfs.repeated_syncs += self._failed
        self._failed = True
        self._vfs.fault("sync", self._label)
        self._failed = False
        self._vfs.log.append(Sync(self._label))


def image(log: list[Operation], cut: int, rng: random.Random) -> dict[str, bytes]:
    """Return the files as a power cut after operation ``cut`` may leave them.

    What was synced is there. Of what was not, each sector is there or not by chance, in any order: a drive's cache is not a queue.
    """
    synced = {operation.name: index for index, operation in enumerate(log[:cut]) if isinstance(operation, Sync)}
    mode = rng.choice(("none", "all", "some", "torn"))
    files: dict[str, bytearray] = {}
    for index, operation in enumerate(log[:cut]):
        if isinstance(operation, (Mark, Sync)):
            continue
        if isinstance(operation, Delete):
            files.pop(operation.name, None)
            continue
        safe = index < synced.get(operation.name, -1)
        content = files.setdefault(operation.name, bytearray())
        if isinstance(operation, Truncate):
            if safe or mode == "all" or (mode != "none" and rng.random() < 0.5):
                del content[operation.size :]
            continue
        _put(content, operation, "all" if safe else mode, rng)
    return {name: bytes(content) for name, content in files.items()}


def _put(content: bytearray, write: Write, mode: str, rng: random.Random) -> None:
    if mode == "none" or (mode == "some" and rng.random() < 0.5):
        return
    position, rest = write.offset, write.data
    while rest:
        size = SECTOR - position % SECTOR
        part, rest = rest[:size], rest[size:]
        if mode != "torn" or rng.random() < 0.5:
            if len(content) < position:
                content.extend(bytes(position - len(content)))
            content[position : position + len(part)] = part
        position += len(part)
