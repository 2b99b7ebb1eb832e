"""Faults on request, for the fault bench: what a disk may do, and where a process may die. Without ``EDGE_AGENT_FAILPOINT`` nothing here runs.

    EDGE_AGENT_FAILPOINT="after_commit:17"                      the process kills itself after its 17th commit (before_commit: likewise)
    EDGE_AGENT_FAILPOINT="fsync_eio:from=5,times=1"             the fifth sync fails, once; without ``times`` for ever
    EDGE_AGENT_FAILPOINT="fsync_sleep=200ms;open_fail:while=/tmp/flag"   several; ``while``: only as long as that file exists

Disk faults: fsync_eio, fsync_enospc, fsync_sleep, write_eio, write_full, write_readonly, open_fail, read_eio. They are made by a VFS
(https://sqlite.org/vfs.html) that stands before the system's one, under the real code of the buffer.
"""

# ruff: noqa: N802 - the methods are named by SQLite
from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec
import structlog

from edge_agent.model.errors import ConfigError

VARIABLE = "EDGE_AGENT_FAILPOINT"
_KILLS = {"after_commit", "before_commit"}
_ERRORS: Mapping[str, tuple[str, type[apsw.Error]]] = {
    "fsync_eio": ("sync", apsw.IOError),
    "fsync_enospc": ("sync", apsw.IOError),  # what SQLite makes of ENOSPC in fsync: SQLITE_IOERR_FSYNC
    "fsync_sleep": ("sync", apsw.IOError),
    "write_eio": ("write", apsw.IOError),
    "write_full": ("write", apsw.FullError),
    "write_readonly": ("write", apsw.ReadOnlyError),
    "read_eio": ("read", apsw.IOError),
    "open_fail": ("open", apsw.CantOpenError),
}
_MILLISECONDS = {"ms": 1, "s": 1000}


class Failpoint(msgspec.Struct):
    """One fault: at the calls ``first`` to ``first + times - 1`` of its operation, while the file ``flag`` exists; ``pause`` in seconds."""

    name: str
    first: int = 1
    times: int = 1 << 60
    flag: Path | None = None
    pause: float = 0.0
    seen: int = 0

    def due(self) -> bool:
        """Count a call; return whether this one fails."""
        if self.flag is not None and not self.flag.exists():
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


def parse(text: str) -> list[Failpoint]:
    """Return the faults that ``text`` asks for. Raises ConfigError."""
    return [_one(each.strip()) for each in text.split(";") if each.strip()]


def _one(text: str) -> Failpoint:
    head, _, tail = text.partition(":")
    name, _, amount = head.partition("=")
    if name not in _ERRORS and name not in _KILLS:
        raise ConfigError(f"{VARIABLE}: there is no {name!r}; there is {', '.join(sorted({*_ERRORS, *_KILLS}))}")
    made = Failpoint(name)
    try:
        if amount:
            number = amount.rstrip("ms")
            made.pause = float(number) * _MILLISECONDS[amount[len(number) :]] / 1000
        for word in filter(None, tail.split(",")):
            key, _, value = word.rpartition("=")
            match key:
                case "" | "from":
                    made.first = int(value)
                case "times":
                    made.times = int(value)
                case "while":
                    made.flag = Path(value)
                case _:
                    raise ConfigError(f"{VARIABLE}: {key!r} in {text!r} is not one of from, times, while")
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{VARIABLE}: {text!r} is not understood ({error})") from error
    return made


class _Disk(apsw.VFS):
    """The system's VFS with faults before it."""

    def __init__(self, faults: list[Failpoint]) -> None:
        self._faults = [fault for fault in faults if fault.name in _ERRORS]
        self.base = apsw.vfs_names()[0]  # the default one of now: "" would be this one itself, once it is the default
        super().__init__("edge-agent-failpoints", self.base, makedefault=True)

    def meet(self, operation: str) -> None:
        """Do what is due at this operation. Raises apsw.Error."""
        for fault in self._faults:
            of, error = _ERRORS[fault.name]
            if of == operation and fault.due():
                if fault.pause:
                    time.sleep(fault.pause)
                else:
                    raise error(f"failpoint {fault.name}")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        """Open a file."""
        self.meet("open")
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    """One open file."""

    def __init__(self, disk: _Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.base, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read."""
        self._disk.meet("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:
        """Write."""
        self._disk.meet("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        """Sync."""
        self._disk.meet("sync")
        super().xSync(flags)


_installed: list[_Disk] = []
_kills: dict[str, Failpoint] = {}
_asked: list[str] = []


def warning() -> str | None:
    """Return what to tell whoever looks at this agent, None when it fails on nobody's request."""
    return (
        f"failpoints: {VARIABLE}={'; '.join(_asked)} makes this agent fail on request: for tests only; unset it and restart"
        if _asked
        else None
    )


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Put in what the environment asks for, and say so loudly. Raises ConfigError."""
    if not (text := environment.get(VARIABLE)):
        return
    faults = parse(text)
    _asked.append(text)
    structlog.get_logger().critical(
        "failpoints.active", variable=VARIABLE, value=text, meaning="this agent fails on request: for tests only"
    )
    if any(fault.name in _ERRORS for fault in faults):
        _installed.append(_Disk(faults))
    _kills.update({fault.name: fault for fault in faults if fault.name in _KILLS})


def reach(place: str) -> None:
    """Pass a place where the process may have to die."""
    if _kills and (fault := _kills.get(place)) is not None and fault.due():
        os.kill(os.getpid(), signal.SIGKILL)
