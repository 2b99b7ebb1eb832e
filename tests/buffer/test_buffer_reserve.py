"""A disk that somebody else has filled: deleting needs room, too, and the reserve file is it."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest
from test_buffer_quota import Filler, covered

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.evict import Room


@pytest.fixture
def filler(tmp_path: Path, vfs, monkeypatch: pytest.MonkeyPatch) -> Filler:
    """A store with 2,000 events that wait, on a disk of its own."""
    monkeypatch.setattr("test_buffer_quota.QUICK", vfs)
    filler = Filler(tmp_path, max_bytes=64 << 20)
    for _ in range(10):
        filler.append(events=200)
    return filler


def test_the_reserve_lets_the_store_go_on_where_others_filled_the_disk(filler: Filler, vfs) -> None:
    """Given back to the log, it lets the next events in, at the price of some of the oldest, declared; it is kept again when there is room."""
    reserve = filler.directory / "reserve"
    assert reserve.stat().st_size == 8 << 20

    def full(operation: str, name: str) -> None:
        if operation == "write" and name.endswith("-wal") and reserve.exists():
            raise apsw.FullError

    vfs.fault = full
    filler.append(events=200)  # asserts that it is durable
    waiting = filler.waiting("E")
    assert covered(waiting) == list(range(1, 2201))
    assert waiting[0].entry.type.endswith("collection.gap.v1")
    assert len(waiting) > 1500, "more was dropped than the step that makes room"
    vfs.fault = lambda operation, name: None
    filler.append(events=1)
    filler.append(events=1)
    assert reserve.stat().st_size == 8 << 20
    assert covered(filler.waiting("E")) == list(range(1, 2203))


def test_the_reserve_is_not_taken_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made only where the disk has twice its size beyond what is to be left free; half a reserve is none."""
    room = Room(tmp_path, BufferConfig(path=tmp_path, max_bytes="64MiB", min_free="64MiB"))
    free = os.statvfs(tmp_path)
    blocks = (80 << 20) // free.f_frsize  # min_free and twice the reserve
    monkeypatch.setattr(os, "statvfs", lambda _: _Disk(blocks - 1, free.f_frsize))
    room.keep_reserve()
    assert not (tmp_path / "reserve").exists()
    monkeypatch.setattr(os, "statvfs", lambda _: _Disk(blocks, free.f_frsize))
    with monkeypatch.context() as half:
        half.setattr(os, "posix_fallocate", _no_space)
        room.keep_reserve()
    assert not (tmp_path / "reserve").exists()
    room.keep_reserve()
    assert (tmp_path / "reserve").stat().st_size == 8 << 20


class _Disk:
    def __init__(self, blocks: int, size: int) -> None:
        self.f_bavail, self.f_frsize = blocks, size


def _no_space(*_: int) -> None:
    raise OSError("no space left on device")
