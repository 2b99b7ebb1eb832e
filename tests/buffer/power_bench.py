"""Power cuts and bad sectors: whatever is left of a store's files, what was promised is there or declared, and the next start opens it.

    python tests/buffer/power_bench.py --images 10000 [--rotten 500] [--seed 1] [--json FILE] [--bug NAME] [--workers 2]

Prints one line of JSON with ``trials``, ``lost``, ``holes``, ``corrupt``, ``refusals``, ``images``, ``rotten``, ``seconds``, ``seed``, ``bug`` and ``findings`` (the
first ten in words); exit code 0 when nothing was found, 1 otherwise. An image is what a power cut may leave of what a short life of
the real outbox wrote through a recording VFS (recording_vfs.py); a rotten one has a byte flipped, a hole of garbage or a lost tail besides, in the
database or its log. ``--bug``: synchronous_off, synchronous_normal, ack_before_commit, seq_in_ram, state_outside and no_crc are found here.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import structlog
from bench_tally import Tally, parser, run, scratch
from recording_vfs import Mark, RecordingVFS, image

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Checkpoint, Custody, Entry

UNITS = ("a", "b")
_IMAGES = 100
"""Images of one life of the store."""
names = itertools.count()


class Bench:
    """An outbox driven by hand: two units append, each with a state that counts its events; time moves a second per turn."""

    def __init__(self, directory: Path, vfs: RecordingVFS | None = None, **config: object) -> None:
        """Open the store."""
        directory.mkdir(exist_ok=True)
        self.config = BufferConfig(path=directory, min_free=0, **{"max_bytes": "4MiB", **config})
        self.now = 0.0
        self.vfs = vfs
        self.made = {"a": 0, "b": 0}
        self.acked = {"a": 0, "b": 0}
        self.outbox = Outbox(self.config, self.now, prefix="edgeagent", vfs=vfs.name if vfs else None)

    def append(self, *sizes: tuple[str, int]) -> list[object]:
        """Append ``n`` events per unit in one commit; return the answers and note what was promised."""
        for unit, size in sizes:
            first = self.made[unit] + 1
            self.made[unit] += size
            events = tuple(event(unit, number) for number in range(first, first + size))
            checkpoint = Checkpoint(unit, {"n": str(self.made[unit]).encode()}, self.made[unit])
            self.outbox.add(Group(events, (checkpoint,), (unit, self.made[unit])))
        return self.turn()

    def turn(self) -> list[object]:
        """Let the outbox work and take its answers."""
        self.now += 1.0
        self.outbox.work(self.now)
        answers, self.outbox.answers = self.outbox.answers, []
        for (unit, made), custody in answers:
            if custody is Custody.DURABLE:
                self.acked[unit] = max(self.acked[unit], made)
                if self.vfs is not None:
                    self.vfs.log.append(Mark(f"{unit} {made}"))
        return [custody for _, custody in answers]

    def close(self) -> None:
        """Close the store; the log ends here."""
        self.outbox.close(self.now)
        self.end = len(self.vfs.log)

    def deliver(self, limit: int) -> None:
        """Hand out and settle some records."""
        records = self.outbox.peek(None, limit, "E")
        self.outbox.settle([record.key for record in records], [])


def event(unit: str, number: int) -> Entry:
    """The numbered event of a unit."""
    return Entry(unit, "E", "edgeagent.x.v1", number, number, b'{"n":%d,"pad":"%s"}' % (number, b"x" * (number * 37 % 300)))


def examine(outbox: Outbox) -> dict[str, int]:
    """Return the number of events per unit; fail on holes, foreign bytes, or a state that does not belong to the events."""
    found: dict[str, int] = {}
    for unit in ("a", "b"):
        head = outbox.heads().get(unit, (1, 0, 0))[1]
        outbox.resend(unit, outbox.committer.epoch, 1, head, 1e9)
        records = [record for record in outbox.peek(None, 100_000, "E") if record.key.stream == unit]
        assert sorted(record.key.seq for record in records) == list(range(1, head + 1)), f"a hole in {unit}"
        assert all(record.entry == event(unit, record.key.seq) for record in records), f"foreign bytes in {unit}"
        state, seen = outbox.states(unit)
        assert int(state.get("n", b"0")) == (seen or 0) == head, "the state is not that of the events"
        found[unit] = head
    return found


def scenario(bench: Bench, seed: int = 4711, turns: int = 60) -> None:
    """Appends of many sizes, deliveries, checkpoints of the log, an orderly end."""
    rng = random.Random(seed)
    for turn in range(turns):
        bench.append(*[(unit, rng.randint(0, 12)) for unit in UNITS if rng.random() < 0.8] or [("a", 1)])
        if turn % 3 == 0:
            bench.deliver(rng.randint(1, 20))
    bench.close()


def lay_out(bench: Bench, directory: Path, rng: random.Random, *, after_first_ack: bool) -> dict[str, int]:
    """Cut the power somewhere and write what is left into ``directory``; return what had been promised by then."""
    log = bench.vfs.log[: bench.end]
    first = next(index for index, op in enumerate(log) if isinstance(op, Mark)) if after_first_ack else 1
    place = rng.randint(first, len(log))
    directory.mkdir()
    for name, content in image(log, place, rng).items():
        (directory / name).write_bytes(content)
    promised = dict.fromkeys(UNITS, 0)
    for operation in log[:place]:
        if isinstance(operation, Mark):
            unit, made = operation.text.split()
            promised[unit] = int(made)
    return promised


def cut(bench: Bench, tmp_path: Path, number: int, *, after_first_ack: bool = True) -> None:
    """Cut the power somewhere, start again on what is left, and compare with what had been promised."""
    directory = tmp_path / f"cut{number}"
    promised = lay_out(bench, directory, random.Random(number), after_first_ack=after_first_ack)
    if after_first_ack:  # opened without fsync for speed; damage is then an error
        shutil.copy(bench.config.path / "identity.json", directory)
    vfs = bench.vfs.name if after_first_ack else None
    outbox = Outbox(BufferConfig(path=directory, min_free=0, max_bytes="4MiB"), 0.0, prefix="edgeagent", vfs=vfs)
    try:
        assert outbox.committer.damage is None
        found = examine(outbox)
        assert all(found[unit] >= promised[unit] for unit in promised), f"lost: promised {promised}, found {found}"
    finally:
        outbox.close(1.0)


def rot(directory: Path, rng: random.Random) -> str:
    """Let the medium forget something of a store's files; return what, in words."""
    files = [path for path in (directory / "buffer.db", directory / "buffer.db-wal") if path.exists() and path.stat().st_size]
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    kind = rng.choice(("flip", "garbage", "tail"))
    if kind == "flip":
        content[place] ^= 1 << rng.randrange(8)
    elif kind == "garbage":
        content[place : place + 300] = rng.randbytes(len(content[place : place + 300]))
    else:
        del content[place:]
    path.write_bytes(content)
    return f"{kind} at {place} of {path.name}"


def read_rotten(bench: Bench, tmp_path: Path, number: int) -> None:
    """Cut, let it rot, start again: it opens, nothing foreign is handed out, and what was not delivered and is not there is declared."""
    directory = tmp_path / f"rot{number}"
    rng = random.Random(number)
    promised = lay_out(bench, directory, rng, after_first_ack=True)
    shutil.copy(bench.config.path / "identity.json", directory)
    what = rot(directory, rng)
    outbox = Outbox(BufferConfig(path=directory, min_free=0, max_bytes="4MiB"), 0.0, prefix="edgeagent")
    try:
        assert outbox.committer.readable, f"{what}: not opened"
        outbox.peek(None, 100_000, "E")  # damaged rows are found now, and their loss records written
        for turn in (1, 2):  # the loss record of a row takes a commit, the replacement of a page by all that can be saved another
            outbox.add(Group((event("z", turn),), ()))
            outbox.work(10.0 * turn)
            outbox.peek(None, 100_000, "E")
        outbox.work(30.0)
        told: dict[str, set[int]] = {unit: set() for unit in UNITS}
        for record in (*outbox.peek(None, 100_000, "E"), *outbox.peek(None, 100_000, "T")):
            key, entry = record.key, record.entry
            if entry == event(key.stream, key.seq):
                told.setdefault(key.stream, set()).add(key.seq)
                continue
            loss = json.loads(entry.body)
            assert loss.get("reason") == "corruption", f"{what}: foreign bytes in {key.stream} {key.seq}"
            told.setdefault(key.stream, set()).update(range(loss["seq_from"], loss["seq_to"] + 1))
        damage = outbox.committer.damage
        unknown = damage is not None and (damage.lost is None or damage.cut)  # the agent declares that nobody knows
        for unit, made in promised.items():
            level = max((settled for _, _, name, _, settled in outbox.committer.store.all_levels() if name == unit), default=0)
            missing = set(range(level + 1, made + 1)) - told[unit]
            tail = "wal" in what and damage is None  # the last commit of a log looks like one that a power cut took
            assert unknown or tail or not missing, f"{what}: lost: {unit} {sorted(missing)[:3]} of {made}, damage {damage}"
    finally:
        outbox.close(11.0)


def one_life(seed: int, images: int, rotten: int) -> Tally:
    """Let one store live a short life, and look at what power cuts would leave of it."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # each damage is told many times over
    tally = Tally()
    vfs = RecordingVFS(f"recording-{next(names)}")
    folder = Path(tempfile.mkdtemp(prefix="power-bench-", dir=scratch()))
    try:
        bench = Bench(folder / "bench", vfs)
        scenario(bench, seed, 12)
        vfs.keeps_log = False
        for number in range(images + rotten):
            one(bench, folder, seed * 1_000 + number, tally, rotten=number >= images)
    finally:
        shutil.rmtree(folder)
        vfs.unregister()
    tally.figures.update({"images": images, "rotten": rotten})
    return tally


def one(bench: Bench, folder: Path, number: int, tally: Tally, *, rotten: bool) -> None:
    """Judge one image."""
    tally.trials += 1
    try:
        (read_rotten if rotten else cut)(bench, folder, number)
    except AssertionError as error:
        words = str(error).partition("\n")[0] or "damage without a cause"
        kind = "lost" if "lost:" in words else "holes" if "a hole" in words else "refusals" if "not opened" in words else "corrupt"
        tally.finding(kind, f"image {number}: {words}")
    except Exception as error:  # noqa: BLE001 - whatever keeps a store from opening is a finding
        tally.finding("refusals", f"image {number}: {type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder / f"{'rot' if rotten else 'cut'}{number}", ignore_errors=True)


def main() -> int:
    """Share the images out to many short lives."""
    arguments = parser("power_bench.py", "Images of power cuts.")
    arguments.add_argument("--images", type=int, default=10_000)
    arguments.add_argument("--rotten", type=int, default=500)
    options = arguments.parse_args()
    lives = max(1, -(-options.images // _IMAGES))
    share = [(options.images * (at + 1) // lives - options.images * at // lives) for at in range(lives)]
    decay = [(options.rotten * (at + 1) // lives - options.rotten * at // lives) for at in range(lives)]
    parts = [(options.seed * 1_000_003 + at, share[at], decay[at]) for at in range(lives)]
    return run("power_cut", options, parts, one_life)


if __name__ == "__main__":
    sys.exit(main())
