"""Power cuts while a new epoch begins: the store is the one of before or the one of after, never something between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest
from power_bench import Bench, event
from recording_vfs import Mark, RecordingVFS, image

from edge_agent.buffer import commit
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, remember
from edge_agent.buffer.lineage import Lineage, Succession
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Checkpoint, RecordKey

IMAGES = 200
PLANS = [
    pytest.param({"a": 3, "b": 0}, id="forked"),
    pytest.param(None, id="nothing_moves"),
]


class Found(NamedTuple):
    """What a store says of itself: its epoch and the one before, what waits, the states, the heads and the runs."""

    epoch: str
    previous: str | None
    records: tuple[tuple[RecordKey, bytes], ...]
    states: tuple[tuple[dict[str, bytes], int | None], ...]
    heads: dict[str, int]
    runs: tuple[tuple[str, str], ...]


def look(outbox: Outbox, runs: int | None = None) -> Found:
    """Return what the store says; of the ``runs`` oldest runs, for each start adds one."""
    committer = outbox.committer
    records = tuple((record.key, record.entry.body) for record in outbox.peek(None, 1_000, "E"))
    known = tuple((run.token, run.epoch) for run in committer.lineage.runs[:runs])
    heads = {name: head for name, (_, head, _) in outbox.heads().items()}
    return Found(committer.epoch, committer.previous_epoch, records, tuple(outbox.states(unit) for unit in "ab"), heads, known)


class Story(NamedTuple):
    """A life in which an epoch ended: what there was before and after, and the places of the log between which a cut is of interest."""

    bench: Bench
    before: Found
    after: Found
    begun: int
    ended: int


def lived(folder: Path, vfs: RecordingVFS, fork: dict[str, int] | None) -> Story:
    """Append in two units, deliver some, and begin a new epoch with gaps and states."""
    bench = Bench(folder, vfs)
    bench.append(("a", 3), ("b", 2))
    bench.deliver(2)
    bench.append(("a", 4), ("b", 5))
    before, begun = look(bench.outbox), len(vfs.log)
    plan = Succession(before.epoch, [event("a", 900), event("b", 901)], [Checkpoint("a", {"n": b"70"}, 70)], fork)
    bench.outbox.succeed(plan, bench.now)
    vfs.log.append(Mark("the new epoch has begun"))
    story = Story(bench, before, look(bench.outbox), begun, len(vfs.log))
    assert story.after.epoch != before.epoch
    assert len(story.after.records) > len(before.records)
    bench.close()
    return story


def left(story: Story, folder: Path, number: int) -> tuple[Found, int]:
    """Cut the power somewhere around the change, start again; return what there is and where the cut was."""
    rng = random.Random(number)
    place = rng.randint(story.begun, story.ended)
    folder.mkdir()
    for name, content in image(story.bench.vfs.log, place, rng).items():
        (folder / name).write_bytes(content)
    assert (folder / DATABASE).exists()
    remember(folder, rng.choice((story.before, story.after)).epoch)  # it is written after the commit, and may be behind
    outbox = Outbox(BufferConfig(path=folder, min_free=0, max_bytes="4MiB"), 0.0, prefix="edgeagent", vfs=story.bench.vfs.name)
    try:
        assert outbox.committer.damage is None
        return look(outbox, len(story.before.runs)), place
    finally:
        outbox.close(1.0)


@pytest.mark.parametrize("fork", PLANS)
def test_a_power_cut_leaves_the_old_epoch_or_the_new_one(tmp_path, vfs, fork):
    """In 200 images: epoch, numbers, records, states and runs are all of before or all of after; once told, the new epoch stays."""
    story = lived(tmp_path / "bench", vfs, fork)
    met = set()
    for number in range(IMAGES):
        found, place = left(story, tmp_path / f"cut{number}", number)
        assert found in (story.before, story.after), f"image {number}"
        assert found == story.after or place < story.ended, f"image {number}: the new epoch was told and is gone"
        met.add(found.epoch)
    assert met == {story.before.epoch, story.after.epoch}, "the cuts met one side only"


@pytest.mark.parametrize("fork", PLANS)
def test_the_images_have_teeth(tmp_path, vfs, monkeypatch, fork):
    """With the epoch and its first events in two transactions, some images are neither before nor after."""
    succeed = commit.succeed

    def in_two_commits(store: Store, *arguments: object) -> Lineage:
        made = succeed(store, *arguments)
        store.db.execute("COMMIT")
        store.db.execute("BEGIN IMMEDIATE")
        return made

    monkeypatch.setattr(commit, "succeed", in_two_commits)
    story = lived(tmp_path / "bench", vfs, fork)
    found = [left(story, tmp_path / f"cut{number}", number)[0] for number in range(60)]
    assert [each for each in found if each not in (story.before, story.after)]
