"""A store that is damaged or gone, with checkpoints at the broker: streams go on from what is known, and the gap has bounds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from agent_bench import until
from agent_process import Plant

from edge_agent.agent.origin import Resume, Seen
from edge_agent.agent.regain import regain, witnesses
from edge_agent.buffer.identity import DATABASE, Damage
from edge_agent.model.instant import parse
from edge_agent.model.stream import Checkpoint

NINE, TEN, LATER = "2026-10-25T09:00:00Z", "2026-10-25T10:00:00Z", "2026-10-25T11:00:00Z"
A, B = "01A", "01B"
CHECKPOINT = "edge/v1/acme/plant1/_agent/gw1/checkpoint/filler"


def seen(last: int = 100, published: int = 100, epoch: str = A) -> Seen:
    """Return a checkpoint of ten o'clock whose states are of nine o'clock and follow number 90."""
    return Seen("filler", TEN, epoch, last, published, resume=Resume(90, NINE, ""))


def states(time: str, word: bytes = b"") -> Checkpoint:
    """Return states of the unit at a time."""
    return Checkpoint("filler", {"rule": word}, parse(time))


BASE = states(NINE, b"checkpoint")
CHOICES = [
    pytest.param([seen()], [BASE], [], 0, b"checkpoint", TEN, id="gone"),
    pytest.param([seen(published=95)], [BASE], [], 0, b"checkpoint", NINE, id="gone_with_what_waited_at_the_checkpoint"),
    pytest.param([seen()], [BASE], [states(LATER, b"log")], 120, b"log", LATER, id="the_log_goes_further"),
    pytest.param([seen()], [BASE], [states(LATER, b"log")], 80, b"checkpoint", TEN, id="the_checkpoint_goes_further"),
    pytest.param([seen(published=95)], [BASE], [states(LATER, b"log")], 89, b"checkpoint", NINE, id="and_something_waited_then"),
    pytest.param([seen()], [BASE], [states(LATER, b"log")], 90, b"log", LATER, id="the_same_number_and_a_younger_state"),
    pytest.param([seen()], [], [states(LATER, b"log")], 80, b"log", LATER, id="a_checkpoint_without_states"),
    pytest.param([seen()], [], [], 0, None, TEN, id="no_states_at_all"),
    pytest.param([], [], [], 0, None, None, id="a_stream_without_checkpoint"),
]


@pytest.mark.parametrize(("of_it", "bases", "left", "head", "word", "since"), CHOICES)
def test_the_state_that_follows_the_higher_numbers_is_taken(
    of_it: list[Seen], bases: list[Checkpoint], left: list[Checkpoint], head: int, word: bytes | None, since: str | None
) -> None:
    """What was left of the store, or the checkpoint; the gap begins where something may be missing."""
    back = regain(["filler"], of_it, bases, left, {"filler": head})
    assert [one.states["rule"] for one in back.states] == ([] if word is None else [word])
    assert back.since == {"filler": None if since is None else parse(since)}
    assert back.based == ({"filler"} if word == b"checkpoint" else set())


def test_only_the_checkpoints_of_the_lost_store_count() -> None:
    """Not those of another epoch, and none at all where everything that counts was saved."""
    gone = Damage("", A, "gone")
    assert witnesses(gone, [seen(), seen(epoch=B)]) == [seen()]
    assert witnesses(Damage("aside", A, "cut", saved=3, cut=True), [seen()]) == [seen()]
    assert witnesses(Damage("", None, "gone"), [seen()]) == [seen()]
    for damage in (None, Damage("aside", A, "a page", saved=3)):
        assert witnesses(damage, [seen()]) == []


# -- the whole agent -----------------------------------------------------------------------------------------------


def cut(folder: Path) -> None:
    """Flip a byte a third into the log: SQLite reads nothing behind it."""
    log = folder / f"{DATABASE}-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 3] ^= 0x40
    log.write_bytes(content)


def gone(folder: Path) -> None:
    """Delete the database and its log."""
    for name in (DATABASE, f"{DATABASE}-wal"):
        (folder / name).unlink()


def emptied(folder: Path) -> None:
    """Leave a database of no bytes, as a file system check may."""
    gone(folder)
    (folder / DATABASE).touch()


def events(plant: Plant, stream: str = "filler") -> list[tuple[str, str, dict[str, Any]]]:
    """Return the events that came over this connection: epoch, type, data."""
    return [
        (one.key.epoch, one.entry.type.split(".", 1)[1].removesuffix(".v1"), json.loads(one.entry.body))
        for one in plant.sink.seen
        if one.key.stream == stream
    ]


def counts(plant: Plant) -> list[dict[str, Any]]:
    """Return the counts that came over this connection."""
    return [data for _, name, data in events(plant) if name == "production.count"]


def kept(plant: Plant) -> dict[str, bytes]:
    """Return what a broker would keep."""
    return {document.topic: document.payload for document in plant.sink.documents if document.retain}


async def killed(plant: Plant, hurt: Callable[[Path], None], parts: Sequence[int]) -> tuple[str, int]:
    """Run and count, be killed, and have the store hurt. Return the epoch and the total that the broker has at least."""
    folder = plant.folder / "buffer"
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        for number in parts:
            await plant.count(number)
        await until(lambda: counts(plant) and int(counts(plant)[-1]["raw"]) == plant.register)
        await until(lambda: b'"resume":{' in kept(plant).get(CHECKPOINT, b""))
        plant.keep = kept(plant)
        register = plant.register
        shutil.copytree(folder, plant.folder / "image", ignore=shutil.ignore_patterns("*.sock"))
    epoch = events(plant)[0][0]
    shutil.rmtree(folder)
    shutil.copytree(plant.folder / "image", folder)
    hurt(folder)
    plant.register = register  # the last poll of an orderly end does not happen to who is killed
    return epoch, json.loads(plant.keep[CHECKPOINT])["totals"].get("total", 0)


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Plant:
    """A world whose broker remembers what it kept."""
    return Plant(tmp_path, monkeypatch)


@pytest.mark.parametrize("hurt", [cut, gone, emptied])
async def test_counters_go_on_behind_a_store_that_is_lost(plant: Plant, hurt: Callable[[Path], None]) -> None:
    """The gap names epoch, numbers and totals; the first count ends at the true total, so that a consumer books each part once."""
    epoch, known = await killed(plant, hurt, [2] * 12)
    plant.register += 7  # made while the gateway was away
    plant.sink.seen.clear()
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(3)
        await until(lambda: counts(plant) and int(counts(plant)[-1]["raw"]) == plant.register)
        new = [(name, data) for of, name, data in events(plant) if of != epoch]
        own = [data for of, name, data in events(plant, "_agent/gw1") if of != epoch and name == "collection.gap"]
    name, gap = new[0]
    assert (name, gap["reason"], gap["prev_epoch"], gap["doubt"]["epoch"]) == ("collection.gap", "store_rolled_back", epoch, epoch)
    assert gap["cause"].startswith("the store was damaged or gone")
    assert gap["interval"][0] is not None
    assert gap["totals_at_from"] == ({"total": known} if known else {})
    first = next(data for name, data in new if name == "production.count")
    assert first["derivation"] == "recovered"
    for count in counts(plant):
        assert count["total"] == int(count["raw"]) - 100
    assert own[0]["reason"] == "store_rolled_back"
    started = [data for of, name, data in events(plant, "_agent/gw1") if of != epoch and name == "agent.started"]
    assert started[0]["prev_epoch"] == epoch
    plant.keep, plant.sink.seen[:] = kept(plant), []
    async with plant.running():  # and that is all: the next start is an ordinary one
        await plant.count(1)
        await until(lambda: bool(counts(plant)))
    assert [data for _, name, data in events(plant) if data.get("reason") == "store_rolled_back"] == []


@pytest.mark.parametrize(("hurt", "there"), [(gone, True), (cut, False)], ids=["no_checkpoint", "no_broker"])
async def test_without_a_checkpoint_counters_begin_anew(plant: Plant, hurt: Callable[[Path], None], there: bool) -> None:
    """A state of unknown age would count things twice without a word: a baseline is taken, and the gap says `unknown`."""
    epoch, _ = await killed(plant, hurt, [2] * 12)
    keep, plant.keep, plant.broker_there = plant.keep, {}, there
    plant.register += 7
    plant.sink.seen.clear()
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(3)
        plant.keep, plant.broker_there = keep, True
        await until(lambda: counts(plant) and int(counts(plant)[-1]["raw"]) == plant.register)
        (new,) = [data for of, name, data in events(plant) if of != epoch and name == "production.count"]
    assert (new["delta"], new["total"]) == (3, 3)
    assert [data for of, _, data in events(plant) if data.get("reason") == "store_rolled_back"] == []
    unknown = [data for _, _, data in events(plant, "_agent/gw1") if data.get("reason") == "corruption"]
    assert [(gap["interval"][0], gap["lost"]) for gap in unknown] == [(None, "unknown")]


# -- a kill before the damage is declared --------------------------------------------------------------------------


async def _killed_again(plant: Plant, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Start, and be killed at a place: what the orderly end would write is undone."""
    folder, image = plant.folder / "buffer", plant.folder / "second"
    with monkeypatch.context() as patch:

        async def killed(*_: object, **__: object) -> None:
            shutil.copytree(folder, image, ignore=shutil.ignore_patterns("*.sock"))
            raise RuntimeError("killed")

        patch.setattr(place, killed)
        with pytest.raises(RuntimeError, match="killed"):
            async with plant.running() as task:
                await task
    shutil.rmtree(folder)
    shutil.move(image, folder)


PLACES = ["Origin.first_look", "Unit.open", "Journal.started", "Journal.store_damaged"]
WHERE = {"Origin": "succeed", "Unit": "unit", "Journal": "journal"}


@pytest.mark.parametrize("there", [True, False], ids=["checkpoint", "no_checkpoint"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hurt", [cut, gone])
async def test_a_kill_before_the_damage_is_told_keeps_it(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, hurt: Callable[[Path], None], place: str, there: bool
) -> None:
    """The next start goes on as the first would have, and tells it; the one after that is an ordinary one."""
    epoch, _ = await killed(plant, hurt, [2] * 12)
    if not there:
        plant.keep = {}
    plant.sink.seen.clear()
    await _killed_again(plant, monkeypatch, f"edge_agent.agent.{WHERE[place.partition('.')[0]]}.{place}")
    assert [one for one in plant.sink.seen if one.key.epoch != epoch] == []
    plant.register += 7
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(3)
        await until(lambda: [one for one in counts(plant) if int(one["raw"]) == plant.register])
        own = [(name, data) for of, name, data in events(plant, "_agent/gw1") if of != epoch]
        new = [(name, data) for of, name, data in events(plant) if of != epoch]
        register = plant.register
    faults = [data for name, data in own if name == "agent.fault" and data["code"] == "store_damaged"]
    assert [fault["prev_epoch"] for fault in faults] == [epoch]
    assert [data["lost"] for name, data in own if data.get("reason") == "corruption"] == ["unknown"]
    gaps = [data for name, data in new if data.get("reason") == "store_rolled_back"]
    assert len(gaps) == (1 if there else 0)
    totals = [data["total"] for name, data in new if name == "production.count"]
    assert totals[-1] == (register - 100 if there else 3)
    if there:  # behind such a gap the totals count: the rules' states may be older than the totals of the checkpoint
        assert totals == [int(data["raw"]) - 100 for name, data in new if name == "production.count"]
    plant.keep, plant.sink.seen[:] = kept(plant), []
    async with plant.running():
        await plant.count(1)
        await until(lambda: bool(counts(plant)))
        names = [name for _, name, _ in events(plant, "_agent/gw1")]
    assert "agent.fault" not in names
    assert "collection.gap" not in names
