"""What an agent knows of itself and its machine without being asked: how late its loop is, room on the disk, when certificates end, memory.

The disk and files are looked at in a thread: a disk that hangs must not stop the loop.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

_LOOK = 1.0
"""Machine seconds between two looks at the loop's lateness."""

_MINUTE = 60
"""Looks over which the greatest lateness is told."""

_DISK_EVERY, _FILES_EVERY = 10, 3600
"""Looks between two looks at the disk, and at certificates."""

_DAY = 86_400.0


class Disk(msgspec.Struct, frozen=True):
    """A file system: bytes that are left for this user, and in all."""

    free: int
    size: int


class Process(msgspec.Struct, frozen=True):
    """The agent as the kernel sees it: bytes, seconds, files, Unix seconds."""

    resident: int
    cpu: float
    files: int
    started: float


class Vitals:
    """Looks on its own, and remembers; whoever asks gets what the last look found."""

    def __init__(self, place: Path, certificates: Mapping[str, Path]) -> None:
        """Look at the disk of ``place`` and at ``certificates`` (files by name)."""
        self._place, self._files = place, certificates
        self._lags: deque[float] = deque(maxlen=_MINUTE)
        self._told: set[str] = set()
        self._anew = False
        self.disk: Disk | None = None
        self.ends: dict[str, float] = {}

    @property
    def lag(self) -> float:
        """The greatest lateness of the loop in the last minute, s."""
        return max(self._lags, default=0.0)

    def days(self, now: float | None = None) -> dict[str, int]:
        """Return how many whole days each certificate is still valid, less than 0 when it is over."""
        now = time.time() if now is None else now
        return {name: int((ends - now) // _DAY) for name, ends in self.ends.items()}

    def renew(self, certificates: Mapping[str, Path]) -> None:
        """From the next look on look at these files."""
        self._files, self._anew = certificates, True

    async def run(self) -> None:
        """Look for as long as the agent runs."""
        clock, turn = asyncio.get_running_loop().time, 0
        while True:
            if turn % _DISK_EVERY == 0:
                self.disk = await asyncio.to_thread(_disk, self._place)
            if turn % _FILES_EVERY == 0 or self._anew:
                self._anew = False
                self.ends = await asyncio.to_thread(self._ends) if self._files else {}
            due = clock() + _LOOK
            await asyncio.sleep(_LOOK)
            self._lags.append(max(0.0, clock() - due))
            turn += 1

    def _ends(self) -> dict[str, float]:
        """Return when each certificate ends, in Unix seconds; one that cannot be read is told to the log once."""
        found = {}
        for name, file in self._files.items():
            try:
                found[name] = ends(file.read_bytes())
            except FileNotFoundError:
                continue  # there is none (yet): whoever needs it says so
            except (OSError, ValueError) as error:
                if name not in self._told:
                    self._told.add(name)
                    structlog.get_logger().warning("certificate.not_readable", certificate=name, file=str(file), reason=str(error))
        return found


def ends(content: bytes) -> float:
    """Return when the first of a file's certificates (PEM or DER) to end does, in Unix seconds. Raises ValueError."""
    from cryptography import x509  # noqa: PLC0415 - only who has certificates needs it

    found = x509.load_pem_x509_certificates(content) if b"-----BEGIN" in content else [x509.load_der_x509_certificate(content)]
    return min(each.not_valid_after_utc.timestamp() for each in found)


def _disk(place: Path) -> Disk | None:
    try:
        found = shutil.disk_usage(place)
    except OSError:  # the buffer says what is wrong with its disk
        return None
    return Disk(found.free, found.total)


_STARTED = time.time()


def process() -> Process:
    """Return what the kernel knows of this process; 0 where /proc does not tell."""
    try:
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except (OSError, AttributeError):
        resident, files = 0, 0
    return Process(resident, time.process_time(), files, _STARTED)
