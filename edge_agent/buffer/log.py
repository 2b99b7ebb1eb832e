"""What a write-ahead log still shows behind the place where SQLite stops reading it.

SQLite takes the first frame with a wrong checksum for the end of the log (https://sqlite.org/fileformat2.html#walformat): right after a power
cut, and silent about a damaged sector, which takes every commit behind it along. Each of our commits is synced before the next begins, so
a power cut leaves at most one commit there; two are proof of damage.
"""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from edge_agent.buffer.schema import PAGE

_HEADER = 32
_FRAME = 24 + PAGE
_MAGIC = 0x377F0682


class Log(msgspec.Struct, frozen=True):
    """The commits of the newest generation of a log, by the number of their last frame (from 1), and whether the file ends inside a frame."""

    commits: tuple[int, ...] = ()
    ragged: bool = False

    def behind(self, frames: int) -> int:
        """Return how many commits stand behind the first ``frames`` frames."""
        return sum(commit > frames for commit in self.commits)


def read_log(database: Path) -> Log:
    """Read the headers of the log of a database that is not open; an empty `Log` where there is none."""
    path = database.with_name(f"{database.name}-wal")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
            if len(header) < _HEADER or not any(header):
                return Log()
            salts = header[16:24] if _sound(header) else None
            commits, number = [], 0
            while len(frame := file.read(24)) == 24:
                number += 1
                salts = frame[8:16] if salts is None else salts  # a damaged header: the first frame tells the generation
                if frame[8:16] == salts and frame[4:8] != bytes(4):
                    commits.append(number)
                file.seek(PAGE, 1)
    except OSError:  # opening the database tells what is wrong with the disk
        return Log()
    return Log(tuple(commits), ragged=(path.stat().st_size - _HEADER) % _FRAME != 0)


def _sound(header: bytes) -> bool:
    """Whether the checksum of the log's header is right."""
    magic = int.from_bytes(header[:4], "big")
    if magic & ~1 != _MAGIC:
        return False
    order = ">" if magic & 1 else "<"
    first = second = 0
    words = struct.unpack(f"{order}6I", header[:24])
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second) == header[24:]
