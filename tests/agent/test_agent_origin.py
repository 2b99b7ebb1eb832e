"""Whether a store is the one that the broker knows: the verdict, and what the agent does about it."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from agent_bench import until
from agent_process import Plant

from edge_agent.agent.adopt import Offer, refusal
from edge_agent.agent.origin import LARGEST, Found, Resume, Seen, doubt, foreign, judge, packed, read
from edge_agent.buffer.lineage import Lineage, Run

T = "2026-10-25T05:00:00Z"
A, B, C = "01A", "01B", "01C"
CHECKPOINTS = "edge/v1/acme/plant1/_agent/gw1/checkpoint/"


def seen(epoch: str = A, last: int = 100, runs: str = "", stream: str = "filler", published: int | None = None) -> Seen:
    """Return a checkpoint that names ``runs`` (one letter each)."""
    return Seen(stream, T, epoch, last, last if published is None else published, tuple(runs))


def lineage(*runs: tuple[str, str, int]) -> Lineage:
    """Return runs by token, epoch and the head of ``filler`` they found."""
    return Lineage(tuple(Run(token, epoch, {"filler": head}) for token, epoch, head in runs))


OURS = lineage(("r", A, 0), ("s", A, 50), ("t", A, 100))

VERDICTS = [
    pytest.param(OURS, A, [], Found(""), id="nothing_is_kept"),
    pytest.param(OURS, A, [seen(last=100, runs="rs")], Found(""), id="the_run_before_wrote_it"),
    pytest.param(OURS, A, [seen(last=70, runs="rs")], Found(""), id="the_run_before_wrote_it_a_while_before_its_end"),
    pytest.param(OURS, A, [seen(last=120, runs="rst")], Found(""), id="this_very_run_wrote_it"),
    pytest.param(OURS, A, [seen(last=50, runs="r")], Found(""), id="an_old_one_of_a_unit_that_was_away"),
    pytest.param(OURS, A, [seen(last=101, runs="rs")], Found("behind", {"filler": 100}), id="copied_while_the_run_before_went_on"),
    pytest.param(OURS, A, [seen(last=51, runs="r")], Found("behind", {"filler": 50}), id="copied_earlier_and_restarted_without_broker"),
    pytest.param(OURS, A, [seen(last=60, runs="rx")], Found("forked", {"filler": 50}), id="another_run_followed_an_early_one"),
    pytest.param(OURS, A, [seen(last=90, runs="rsx")], Found("forked", {"filler": 100}), id="another_run_with_lower_numbers"),
    pytest.param(OURS, A, [seen(last=90, runs="xyz")], Found("forked", {"filler": 100}), id="no_run_in_common"),
    pytest.param(OURS, A, [seen(B, 3, "rsx")], Found("superseded", {"filler": 100}), id="a_younger_epoch_followed"),
    pytest.param(OURS, A, [seen("019", 500, "x")], Found(""), id="an_older_epoch_of_a_lost_store"),
    pytest.param(OURS, A, [seen(last=100)], Found(""), id="written_by_a_program_without_runs"),
    pytest.param(OURS, A, [seen(last=101)], Found("behind", {"filler": 100}), id="a_program_without_runs_was_ahead"),
    pytest.param(OURS, A, [seen(last=9, runs="rs"), seen(last=1, runs="rs", stream="new")], Found("behind", {"filler": 100}), id="a_stream_that_the_store_does_not_know"),
    pytest.param(lineage(("t", B, 0)), B, [seen(A, 100, "rs")], Found(""), id="a_blank_store_after_an_old_epoch"),
    pytest.param(lineage(("r", A, 0), ("t", A, 100)), B, [seen(A, 90, "rx")], Found("forked"), id="this_run_has_begun_an_epoch_already"),
    pytest.param(lineage(("r", A, 0), ("x", A, 150), ("t", B, 0)), B, [seen(A, 150, "rx")], Found(""), id="adopted_and_never_connected"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "epoch", "checkpoints", "verdict"), VERDICTS)
def test_the_checkpoints_tell_whether_a_store_may_go_on(ours: Lineage, epoch: str, checkpoints: list[Seen], verdict: Found) -> None:
    """Each history of copies, restarts and epochs has its verdict, and the numbers that may stay."""
    assert judge(ours, epoch, checkpoints) == verdict


def test_the_runs_of_another_store_are_known_from_then_on() -> None:
    """Each with the heads that its checkpoints tell; our own are not among them."""
    found = foreign(OURS, [seen(last=9, runs="rx"), seen(last=4, runs="rx", stream="capper"), seen(runs="s")])
    assert found == (Run("x", A, {"filler": 9, "capper": 4}),)


DOUBTS = [
    (seen(last=120, published=110), 100, 111, 120),
    (seen(last=120, published=110), 115, 116, 120),
    (seen(last=120, published=120), 100, 121, None),
    (seen(last=120, published=90), None, 91, 120),
]


@pytest.mark.parametrize(("one", "kept", "first", "last"), DOUBTS)
def test_the_numbers_in_doubt_are_named(one: Seen, kept: int | None, first: int, last: int | None) -> None:
    """Not those that were confirmed, not those that our store holds; an open end where all that is known was confirmed."""
    assert doubt(one, kept) == {"epoch": A, "from_seq": first, "to_seq": last, "checkpoint_at": T}


def test_states_travel_in_a_checkpoint_and_come_back() -> None:
    """Byte for byte; too much is left out; what is no checkpoint or no state is refused."""
    states = {"counters.total": bytes(range(256)), "picture": b""}
    resume = packed(7, T, states)
    assert resume is not None
    assert (resume.seq, resume.unpack()) == (7, states)
    import secrets

    assert packed(7, T, {"big": secrets.token_bytes(LARGEST)}) is None
    for bad in ("%%%", "AAAA", ""):
        with pytest.raises(ValueError, match=r".+"):
            Resume(1, T, bad).unpack()
    for payload in (
        b"{",
        b"[]",
        b'{"stream":"filler"}',
        json.dumps({"stream": "f", "time": "now", "epoch": A, "last_seq": 1, "published_seq": 1}).encode(),
        b'{"stream":"\xff"}',
        b'{"stream":"f","totals":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ):
        with pytest.raises(ValueError, match=r".+"):
            read(payload)


@pytest.mark.parametrize(
    ("presence", "resume", "words"),
    [
        ("online", True, "is online"),
        ("offline", False, "carry no states"),
        ("offline", None, "keeps no checkpoint"),
        ("offline", True, None),
        ("silent", True, None),
        ("unknown", True, None),
    ],
)
def test_adopting_is_refused_with_a_remedy(presence: Any, resume: bool | None, words: str | None) -> None:
    """While the old gateway is there, and where there is nothing to go on from."""
    one = Seen("filler", T, A, 1, 1, resume=Resume(1, T, "") if resume else None)
    reason = refusal("gw1", Offer(() if resume is None else (one,), presence, {}))
    assert reason is None if words is None else reason is not None and words in reason


# -- the whole agent -----------------------------------------------------------------------------------------------


def kept(plant: Plant) -> dict[str, bytes]:
    """Return what a broker would keep of everything announced so far."""
    return {document.topic: document.payload for document in plant.sink.documents if document.retain}


def sent(plant: Plant) -> list[tuple[str, int, str, dict[str, Any]]]:
    """Return the unit's events that the broker got on this connection: epoch, number, type, data."""
    return [
        (one.key.epoch, one.key.seq, one.entry.type.removeprefix("edgeagent.").removesuffix(".v1"), json.loads(one.entry.body))
        for one in plant.sink.seen
        if one.key.stream == "filler"
    ]


def counted(plant: Plant, epoch: str) -> list[tuple[int, int]]:
    """Return (delta, total) of the counts in an epoch."""
    return [(data["delta"], data["total"]) for of, _, name, data in sent(plant) if of == epoch and name == "production.count"]


async def made(plant: Plant, parts: int) -> None:
    """Let the line make parts once the agent has a baseline."""
    await until(lambda: plant.driver.idle and plant.driver.accepted)
    await plant.count(parts)


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Plant:
    """A world whose broker remembers what it kept."""
    monkeypatch.setenv("EDGE_AGENT_MACHINE_ID", "one")
    return Plant(tmp_path, monkeypatch)


async def rolled_back(plant: Plant) -> tuple[str, dict[str, bytes]]:
    """Run, copy the store, run on and lose it: the copy is in its place. Return the epoch and what the broker keeps."""
    async with plant.running():
        await made(plant, 10)
        await until(lambda: counted(plant, plant.sink.seen[0].key.epoch) == [(10, 10)])
    shutil.copytree(plant.folder / "buffer", plant.folder / "copy")
    epoch = plant.sink.seen[0].key.epoch
    plant.keep = kept(plant)
    async with plant.running():
        await made(plant, 5)
    shutil.rmtree(plant.folder / "buffer")
    shutil.copytree(plant.folder / "copy", plant.folder / "buffer")
    return epoch, kept(plant)


async def test_a_restored_store_goes_on_from_the_checkpoint(plant: Plant) -> None:
    """Asked before the units open: a new epoch, a gap first, and only what was made since the checkpoint is counted."""
    epoch, plant.keep = await rolled_back(plant)
    total = json.loads(plant.keep[f"{CHECKPOINTS}filler"])["totals"]["total"]
    async with plant.running():
        await made(plant, 3)
        await until(lambda: any(name == "production.count" for *_, name, _ in sent(plant)))
    ((delta, after),) = {counted(plant, of)[0] for of, *_ in sent(plant)[-1:]}
    assert all(of != epoch for of, *_ in sent(plant))
    of, seq, name, gap = sent(plant)[0]
    assert (seq, name, gap["reason"], gap["seq_from"]) == (1, "collection.gap", "store_rolled_back", None)
    assert gap["totals_at_from"] == {"total": total}
    assert (gap["prev_epoch"], gap["doubt"]["epoch"]) == (epoch, epoch)
    assert after - delta == total
    for keep in (plant.keep, kept(plant)):  # also where the new epoch never got a checkpoint out
        plant.keep = keep
        async with plant.running():
            await until(lambda: plant.driver.idle and plant.driver.accepted)
        assert {of for of, *_ in sent(plant)} == {of}


async def test_without_broker_a_restored_store_collects_and_decides_when_it_is_back(plant: Plant) -> None:
    """What was appended meanwhile gets new numbers behind the gap, which comes before anything is sent."""
    epoch, plant.keep = await rolled_back(plant)
    plant.broker_there = False
    plant.sink.seen.clear()
    async with plant.running():
        await made(plant, 3)
        plant.broker_there = True
        await until(lambda: len(sent(plant)) > 3)
        assert all(of != epoch for of, *_ in sent(plant))
        assert [seq for _, seq, *_ in sent(plant)] == list(range(1, len(sent(plant)) + 1))
        assert sent(plant)[0][3]["reason"] == "store_rolled_back"
        assert any(name == "production.count" for *_, name, _ in sent(plant))


async def test_a_store_on_another_machine_begins_a_new_epoch_even_without_broker(plant: Plant, monkeypatch) -> None:
    """A clone shall not give the numbers of its original, whether anybody can be asked or not."""
    async with plant.running():
        await made(plant, 10)
    epoch = plant.sink.seen[0].key.epoch
    monkeypatch.setenv("EDGE_AGENT_MACHINE_ID", "two")
    plant.broker_there = False
    async with plant.running():
        await made(plant, 3)
    plant.broker_there, plant.keep = True, {}
    plant.sink.seen.clear()
    async with plant.running():
        await until(lambda: len(sent(plant)) > 3)
    assert all(of != epoch for of, *_ in sent(plant))
    assert sent(plant)[0][3]["cause"].startswith("the store belonged to another machine")
    assert len({of for of, *_ in sent(plant)}) == 1
