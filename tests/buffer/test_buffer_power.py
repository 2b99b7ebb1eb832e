"""Power cuts, failing disks and what each must leave: the real outbox over a VFS that records and fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest
from bench_tally import told_by
from power_bench import Bench, cut, event, examine, scenario

from edge_agent.model.stream import Custody


def cut_everywhere(bench: Bench, tmp_path: Path, images: int = 200) -> None:
    """Cut the power at ``images`` random places."""
    for number in range(images):
        cut(bench, tmp_path, number)


def test_a_power_cut_loses_nothing_that_was_promised(tmp_path, vfs):
    """In 200 images of a power cut every accepted event is there, without holes, and with the state it was committed with."""
    bench = Bench(tmp_path / "bench", vfs)
    scenario(bench)
    cut_everywhere(bench, tmp_path)


def test_a_power_cut_while_the_store_is_made_leaves_one_that_opens(tmp_path, vfs):
    """Wherever the first start is cut, the next one starts."""
    bench = Bench(tmp_path / "bench", vfs)
    bench.append(("a", 3))
    bench.close()
    for number in range(60):
        cut(bench, tmp_path, number, after_first_ack=False)


images = partial(told_by, "power_bench.py")


def test_whatever_rots_the_store_opens_and_tells_what_is_missing(tmp_path):
    """200 images with flipped bytes, garbage or a lost tail besides: no start is refused, nothing foreign is handed out, every loss is declared."""
    told = images("--images", "100", "--rotten", "200", "--seed", "3", "--json", str(tmp_path / "tally"))
    assert (told["trials"], told["rotten"], told["findings"]) == (300, 200, [])
    assert json.loads((tmp_path / "tally").read_text()) == told


@pytest.mark.parametrize(
    "bug", ["synchronous_off", "synchronous_normal", "ack_before_commit", "no_crc", "seq_in_ram", "state_outside"]
)
def test_the_bench_has_teeth(bug):
    """Each seeded bug is found in a small part of the images."""
    told = images("--images", "60", "--rotten", "120", "--bug", bug)
    assert sum(told[kind] for kind in ("lost", "holes", "corrupt", "refusals")) > 0


class Failing:
    """Raises ``error`` for ``times`` calls of ``operation`` on files whose name ends with ``suffix``; ``armed`` first."""

    def __init__(self, operation: str, suffix: str, error: type[Exception], times: float = float("inf")) -> None:
        """Wait to be armed."""
        self.operation, self.suffix, self.error, self.left, self.hits = operation, suffix, error, times, 0

    def __call__(self, operation: str, name: str) -> None:
        """Fail when it is our turn."""
        if operation == self.operation and name.endswith(self.suffix) and self.left > 0:
            self.left -= 1
            self.hits += 1
            raise self.error


ONCE = [
    pytest.param(lambda: Failing("sync", "-wal", apsw.IOError, 1), id="fsync_of_the_log_fails_once"),
    pytest.param(lambda: Failing("write", "-wal", apsw.IOError, 1), id="write_to_the_log_fails_once"),
    pytest.param(lambda: Failing("sync", "-wal", apsw.IOError, 2), id="fsync_of_the_log_fails_twice"),
]


@pytest.mark.parametrize("make", ONCE)
def test_a_failure_that_passes_is_not_noticed(tmp_path, vfs, make: Callable[[], Failing]):
    """After a failed commit the store is opened anew and the same rows get the same numbers: durable, no hole, nothing twice."""
    bench = Bench(tmp_path / "bench", vfs)
    bench.append(("a", 3), ("b", 2))
    vfs.fault = fault = make()
    assert bench.append(("a", 4), ("b", 1)) == [Custody.DURABLE] * 2
    assert fault.hits > 0
    assert vfs.repeated_syncs == 0, "a failed fsync was repeated on the same handle"
    bench.append(("a", 2))
    assert examine(bench.outbox) == {"a": 9, "b": 3}
    bench.outbox.close(bench.now)


FOR_EVER = [
    pytest.param(lambda: Failing("sync", "-wal", apsw.IOError), id="fsync_fails_for_ever"),
    pytest.param(lambda: Failing("write", "-wal", apsw.FullError), id="disk_full"),
    pytest.param(lambda: Failing("write", "-wal", apsw.ReadOnlyError), id="read_only"),
]


@pytest.mark.parametrize("make", FOR_EVER)
def test_a_disk_that_stays_out_of_order_is_said_and_survived(tmp_path, vfs, make: Callable[[], Failing]):
    """Appends are VOLATILE and the health bad while the disk fails; afterwards everything is there once, with the newest state."""
    bench = Bench(tmp_path / "bench", vfs)
    bench.append(("a", 3), ("b", 2))
    vfs.fault = make()
    assert bench.append(("a", 4)) == [Custody.VOLATILE]
    assert bench.append(("b", 5), ("a", 1)) == [Custody.VOLATILE] * 2
    stats = bench.outbox.stats()
    assert (stats.healthy, "10 events in memory only" in stats.detail) == (False, True)
    assert bench.outbox.committer.epoch
    vfs.fault = lambda operation, name: None
    bench.turn()
    assert bench.outbox.stats().healthy
    assert vfs.repeated_syncs == 0, "a failed fsync was repeated on the same handle"
    assert examine(bench.outbox) == {"a": 8, "b": 7}
    bench.append(("a", 1))
    bench.outbox.close(bench.now)
    again = Bench(tmp_path / "bench")
    assert examine(again.outbox) == {"a": 9, "b": 7}
    again.outbox.close(1.0)


def test_a_commit_whose_fate_is_unknown_is_not_repeated_under_new_numbers(tmp_path, vfs):
    """The fsync after the write fails, so the rows are there after reopening: they stay the same rows, not twice."""
    bench = Bench(tmp_path / "bench", vfs)
    bench.append(("a", 3))
    epoch = bench.outbox.committer.epoch
    vfs.fault = Failing("sync", "", apsw.IOError)
    assert bench.append(("a", 4)) == [Custody.VOLATILE]
    assert bench.append(("a", 2)) == [Custody.VOLATILE]
    vfs.fault = lambda operation, name: None
    bench.turn()
    assert examine(bench.outbox) == {"a": 9, "b": 0}
    assert bench.outbox.committer.epoch == epoch
    bench.outbox.close(bench.now)


def test_a_full_ring_declares_what_fell_out_of_it(tmp_path, vfs):
    """When memory is full too the oldest events go, and a gap without numbers of theirs stands before what is left."""
    bench = Bench(tmp_path / "bench", vfs, max_bytes="64MiB")
    bench.append(("a", 3))
    vfs.fault = Failing("write", "-wal", apsw.FullError)
    bench.append(("a", 1))
    for _ in range(26):
        bench.append(("a", 400))
    assert "400 lost" in bench.outbox.stats().detail
    vfs.fault = lambda operation, name: None
    bench.turn()
    records = bench.outbox.peek(None, 20_000, "E")
    assert [record.key.seq for record in records] == list(range(1, 10_006))
    assert records[4].entry.type == "edgeagent.collection.gap.v1"
    assert b'"reason":"buffer_overflow"' in records[4].entry.body
    assert b'"lost":{"min":400,"max":400}' in records[4].entry.body
    assert records[5].entry == event("a", 405)
    assert bench.outbox.states("a") == ({"n": b"10404"}, 10404)
    bench.outbox.close(bench.now)
