"""A loss that a start finds is known to every later start until it is declared, whatever kills the agent in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw
import msgspec
import pytest
from test_buffer_rot import spoil_page
from test_buffer_witness import UNITS, Life, spoil

from edge_agent.buffer import noted, opening
from edge_agent.buffer.identity import DATABASE, Damage
from edge_agent.buffer.lineage import Succession
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.stream import Checkpoint, Entry

MADE, DELIVERED = 8, 5


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A store whose last records wait."""
    life = Life(tmp_path / "store")
    life.make(MADE)
    life.deliver(MADE + DELIVERED)
    life.end()
    return tmp_path / "store"


def gone(directory: Path) -> None:
    """Delete the database."""
    (directory / DATABASE).unlink()


def emptied(directory: Path) -> None:
    """Leave a database of no bytes."""
    (directory / DATABASE).write_bytes(b"")


def page(directory: Path) -> None:
    """Spoil the queue."""
    spoil_page(directory, "waiting")


def garbage(directory: Path) -> None:
    """Leave nothing that could be saved."""
    (directory / DATABASE).write_bytes(b"garbage" * 4096)


def only_the_log(directory: Path) -> None:
    """Have the power fail while a damaged store was put aside."""
    (directory / DATABASE).rename(directory / f"{DATABASE}-wal")


HURTS = [gone, emptied, page, garbage, only_the_log]


def found(life: Life) -> Damage:
    """Return the damage of which this start knows."""
    damage = life.outbox.committer.damage
    assert damage is not None
    return damage


def killed(life: Life) -> None:
    """End as a kill does: nothing more is written."""
    store = life.outbox.committer.store
    store.close(failed=True)


def declare(life: Life, damage: Damage) -> None:
    """Commit the declaration of a damage."""
    entry = Entry("agent", "E", "edgeagent.agent.fault.v1", 1, 1, b"{}")
    life.outbox.add(Group((entry,), (Checkpoint("agent", {}, 1),), declares=damage))
    life.turn()


@pytest.mark.parametrize("hurt", HURTS)
def test_a_loss_stays_known_until_it_is_declared(directory: Path, hurt) -> None:
    """The new store looked whole to the next start, which took new baselines without a word."""
    hurt(directory)
    first = Life(directory, MADE)
    damage = found(first)
    killed(first)
    for _ in range(2):
        life = Life(directory, MADE)
        assert found(life) == msgspec.structs.replace(damage, earlier=True)
        killed(life)
    life = Life(directory, MADE)
    declare(life, found(life))
    assert life.outbox.committer.store.has(noted.DAMAGE) is False
    killed(life)
    assert Life(directory, MADE).outbox.committer.damage is None


def test_a_declaration_that_is_not_committed_takes_nothing_away(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One transaction: the events and the note go together."""
    gone(directory)
    life = Life(directory, MADE)
    monkeypatch.setattr("edge_agent.buffer.failpoint.reach", _fail_before_commit)
    declare(life, found(life))
    monkeypatch.undo()
    killed_copy = _image(directory)
    assert Life(killed_copy, MADE).outbox.committer.damage is not None
    life.turn()  # written now
    assert life.outbox.committer.store.has(noted.DAMAGE) is False
    life.end()


def _fail_before_commit(place: str) -> None:
    if place == "before_commit":
        raise apsw.IOError("the disk")


def _image(directory: Path) -> Path:
    image = directory.with_name("image")
    shutil.copytree(directory, image)
    return image


@pytest.mark.parametrize(
    "rotten",
    ["'X'", "NULL", "CAST(x'ff' AS TEXT)", """replace(value, '"saved":null', '"saved":12')"""],
    ids=["short", "null", "no_text", "other_text"],
)
def test_a_note_that_rotted_is_a_loss_of_which_nothing_is_known(directory: Path, rotten: str) -> None:
    """A wrong byte makes no store whole: everything may be missing, and nothing goes on from there."""
    epoch = Life(directory, MADE).outbox.committer.epoch
    gone(directory)
    killed(Life(directory, MADE))
    spoil(directory, f"UPDATE store SET value = {rotten} WHERE key = 'damage'")
    life = Life(directory, MADE)
    damage = found(life)
    assert (damage.epoch, damage.saved, damage.unknown, damage.settled) == (epoch, None, True, True)
    declare(life, damage)
    life.end()
    assert Life(directory, MADE).outbox.committer.damage is None


def test_a_store_that_is_damaged_before_it_told_of_the_one_before_tells_both(directory: Path) -> None:
    """Two starts, two losses, one declaration."""
    gone(directory)
    first = Life(directory)
    first.make(1)
    lost = found(first)
    killed(first)
    page(directory)
    second = Life(directory, 1)
    damage = found(second)
    assert (damage.epoch, damage.unknown) == (first.outbox.committer.epoch, False)
    assert [(each.set_aside, each.epoch, each.error, each.unknown) for each in damage.before] == [
        ("", lost.epoch, lost.error, True)
    ]
    declare(second, lost)  # one that was on its way into the store before
    assert second.outbox.committer.store.has(noted.DAMAGE) is True
    declare(second, damage)
    second.end()
    assert Life(directory, 1).outbox.committer.damage is None


def test_damages_in_a_row_take_a_bounded_room() -> None:
    """The oldest that is still named speaks for those that are not."""
    damage = Damage("", "E0", "gone")
    for number in range(1, 20):
        damage = noted.with_earlier(Damage("aside", f"E{number}", "a page", saved=1), damage)
    assert [each.epoch for each in damage.before] == [f"E{number}" for number in range(11, 19)]
    assert [each.unknown for each in damage.before] == [True] + [False] * 7


def test_a_note_has_a_bounded_size_and_holds_any_path(directory: Path) -> None:
    """Where the states do not fit nothing goes on from them, for what they counted may wait."""
    life = Life(directory, MADE)
    store = life.outbox.committer.store
    states = (Checkpoint("unit", {"rule": bytes(2 << 20)}, 1),)
    damage = Damage("a\udcff", "E", "x" * 1_000_000, 5, tuple(("s", n, n) for n in range(100_000)), cut=True, states=states)
    with store.transaction():
        noted.note(store, damage)
    assert len(store.words(noted.DAMAGE) or "") < 50_000
    known = noted.noted(store)
    assert known is not None
    assert (known.states, known.settled, known.unknown) == ((), True, True)
    with store.transaction():
        noted.declared(store, damage)
    assert noted.noted(store) is None
    life.end()


def test_the_states_of_a_cut_log_are_noted(directory: Path) -> None:
    """The next start has them as the first one had."""
    life = Life(directory, MADE)
    store = life.outbox.committer.store
    states = (Checkpoint("unit", {"rule": b"\x00\xff"}, 1),)
    with store.transaction():
        noted.note(store, Damage("aside", "E", "cut", 5, (), cut=True, states=states))
    known = noted.noted(store)
    assert known is not None
    assert (known.states, known.settled) == (states, False)
    life.end()


def test_streams_that_went_on_do_not_go_back(directory: Path) -> None:
    """A new epoch began on a checkpoint, then the kill came: the damage is still to be told, and no second epoch begins."""
    gone(directory)
    life = Life(directory)
    damage = found(life)
    life.outbox.succeed(Succession(damage.epoch or "", ()), 1.0)
    killed(life)
    assert found(Life(directory)) == msgspec.structs.replace(damage, earlier=True, settled=True)


def test_a_kill_while_a_store_is_saved_keeps_why_it_was_put_aside(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whether its log was cut: where it was not, the states go on."""
    page(directory)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(opening, "salvage", kill)
        with pytest.raises(KeyboardInterrupt):
            Life(directory, MADE)
    life = Life(directory, MADE)
    damage = found(life)
    assert (damage.cut, damage.earlier, damage.saved) == (False, False, 2 * MADE - MADE - DELIVERED)
    assert damage.error != "what it was put aside for is not known"
    assert life.outbox.states(UNITS[0])[0] == {"n": str(MADE).encode()}
    life.end()


def test_a_store_that_was_deleted_while_it_was_open_is_known_to_the_next_start(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the file that names its epoch went with it."""
    life = Life(directory, MADE)
    epoch = life.outbox.committer.epoch
    monkeypatch.setattr("edge_agent.buffer.store.Store.rescue", _not_rescued)
    for file in directory.iterdir():
        file.unlink()
    life.now += 2.0
    life.outbox.work(life.now)
    assert found(life).epoch == epoch
    killed(life)
    life.outbox = None  # type: ignore[assignment] - and its lock
    assert found(Life(directory)).epoch == epoch


def _not_rescued(_: object) -> None:
    raise OSError("nothing left")


def test_people_do_not_declare(directory: Path) -> None:
    """A command that opens the store leaves the note to the agent."""
    gone(directory)
    killed(Life(directory, MADE))
    life = Life(directory, MADE)
    config = life.outbox._config
    killed(life)
    visitor = Outbox(config, 0.0, prefix="edgeagent", as_found=True)
    assert visitor.committer.damage is None
    visitor.close(1.0)
    assert found(Life(directory, MADE)).earlier
