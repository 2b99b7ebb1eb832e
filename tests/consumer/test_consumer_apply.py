"""The sequence: what an event does, given where its stream stands."""

from __future__ import annotations

import pytest
from consumer_bench import SOURCE, event, gap, piece
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consumer import apply
from edge_agent.consumer.apply import Alarm, Apply, Began, Effect, Ignore, Known, Lost, Park, Stream
from edge_agent.consumer.event import Event, read


class World:
    """A stream and what a store would remember of it."""

    def __init__(self) -> None:
        self.stream = Stream(SOURCE)
        self.seen: set[str] = set()
        self.lost: set[tuple[str, int]] = set()
        self.told: set[str] = set()
        self.known = Known(self.seen.__contains__, lambda epoch, seq: (epoch, seq) in self.lost, self.told.__contains__)

    def give(self, one: Event | bytes, *, retained: bool = False) -> list[Effect]:
        """Receive an event and remember what the store would."""
        one = read(one) if isinstance(one, bytes) else one
        return self._note(list(apply.receive(self.stream, one, self.known, retained=retained)))

    def answer(self, first: int, not_kept: int, epoch: str = "E1") -> list[Effect]:
        """Take an agent's answer in."""
        return self._note(list(apply.answered(self.stream, epoch, first, not_kept, self.known)))

    def _note(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Apply):
                self.seen.add(effect.event.id)
                if effect.event.covers is None:
                    self.told |= {effect.event.id, effect.event.retry_of or effect.event.id}
            elif isinstance(effect, Lost):
                self.lost |= {(effect.epoch, seq) for seq in range(effect.first, effect.last + 1)}
        return effects


def said(effects: list[Effect]) -> list[str]:
    """Return effects in short."""
    words = []
    for effect in effects:
        match effect:
            case Apply(one, void):
                words.append(f"{'void' if void else 'apply'} {one.seq}")
            case Park(one):
                words.append(f"park {one.seq}")
            case Ignore(why):
                words.append(why)
            case Alarm(kind, _):
                words.append(f"alarm {kind}")
            case Lost(_, first, last, how):
                words.append(f"lost {first}-{last} {how}")
            case Began(epoch, ended):
                words.append(f"began {epoch} after {ended or 'nothing'}")
    return words


ROWS = [
    ("next", [1, 2, 3], ["began E1 after nothing", "apply 1", "apply 2", "apply 3"]),
    ("duplicate", [1, 1, 2, 1], ["began E1 after nothing", "apply 1", "duplicate", "apply 2", "duplicate"]),
    ("reordered", [1, 3, 2], ["began E1 after nothing", "apply 1", "park 3", "apply 2", "apply 3"]),
    ("begins late", [2, 1], ["began E1 after nothing", "park 2", "apply 1", "apply 2"]),
    ("parked twice", [1, 3, 3, 2], ["began E1 after nothing", "apply 1", "park 3", "duplicate", "apply 2", "apply 3"]),
]


@pytest.mark.parametrize(("numbers", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_numbers_are_applied_in_order_and_once(numbers: list[int], expected: list[str]) -> None:
    """The next number is applied, an old one dropped, one further on parked until the hole is filled."""
    world = World()
    assert [word for seq in numbers for word in said(world.give(event(seq)))] == expected


def test_a_loss_record_closes_the_hole_that_ends_where_it_stands() -> None:
    """A gap whose numbers cover the hole is applied after the hole was stepped over, and what is behind it follows."""
    world = World()
    world.give(event(1))
    world.give(event(6))
    assert said(world.give(gap(5, 2))) == ["park 5", "lost 2-4 declared", "apply 5", "apply 6"][1:]
    assert world.stream.high == 6


def test_what_arrived_of_a_range_that_was_dropped_later_counts() -> None:
    """A loss record over 2-6 does not take away number 4, which is here."""
    world = World()
    world.give(event(1))
    world.give(event(4))
    assert said(world.give(gap(6, 2))) == ["lost 2-3 declared", "apply 4", "lost 5-5 declared", "apply 6"]


def test_a_loss_record_that_begins_behind_the_hole_closes_nothing() -> None:
    """A gap over 5-6 says nothing about 3 and 4."""
    world = World()
    world.give(event(1))
    world.give(event(2))
    assert said(world.give(gap(6, 5))) == ["park 6"]
    assert world.stream.hole() == (3, 5)


def test_an_old_number_with_an_unknown_id_is_an_alarm() -> None:
    """Two events of one number are never one duplicate: a person is told, nothing is booked."""
    world = World()
    world.give(event(1))
    assert said(world.give(event(1, event_id="E1-other-1"))) == ["alarm unknown_id"]
    world.give(event(3))
    assert said(world.give(event(3, event_id="E1-other-3"))) == ["alarm two_of_a_number"]


def test_a_new_epoch_ends_the_old_one_with_what_is_there() -> None:
    """Parked events of the ended epoch are applied, its holes are lost, and numbers begin at 1."""
    world = World()
    for seq in (1, 3, 6):
        world.give(event(seq))
    assert said(world.give(event(1, epoch="E2"))) == [
        "lost 2-2 epoch_ended", "apply 3", "lost 4-5 epoch_ended", "apply 6", "began E2 after E1", "apply 1",
    ]  # fmt: skip
    assert said(world.give(event(7, epoch="E1"))) == ["alarm ended_epoch"]


def test_a_retained_event_is_ignored() -> None:
    """A retained event would count again for every new subscriber."""
    world = World()
    assert said(world.give(event(1), retained=True)) == ["retained"]
    assert world.stream.high == 0


def test_an_answer_that_the_numbers_are_gone_closes_the_hole() -> None:
    """What the agent does not keep any more is lost; what it says beyond the hole is not believed."""
    world = World()
    world.give(event(9))
    world.give(event(12))
    assert said(world.answer(1, 20)) == ["lost 1-8 not_kept", "apply 9"]
    assert said(world.answer(1, 8)) == []
    assert world.stream.hole() == (10, 11)
    assert said(world.answer(10, 1)) == ["lost 10-10 not_kept"]


def test_what_is_lost_and_comes_all_the_same_is_an_alarm() -> None:
    """An event whose number was given up is kept aside, never booked out of order."""
    world = World()
    world.give(event(3))
    world.answer(1, 2)
    assert said(world.give(event(2))) == ["alarm after_loss"]


def test_a_dead_letter_that_comes_again_counts_once() -> None:
    """A retry of what was applied takes its number and nothing else; one of what the loss record replaced is applied."""
    world = World()
    world.give(event(1))
    world.give(gap(2, 2))  # in the place of number 2, under its name
    assert said(world.give(event(3, retry_of="E1-filler-000000000001"))) == ["void 3"]
    assert said(world.give(event(4, retry_of="E1-filler-000000000002"))) == ["apply 4"]
    assert said(world.give(event(5, retry_of="E1-filler-000000000002"))) == ["void 5"]


def test_behind_a_hole_no_more_than_ten_thousand_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: what does not fit is asked for again when the hole is closed."""
    monkeypatch.setattr(apply, "PARKED_MOST", 3)
    world = World()
    words = [said(world.give(event(seq)))[-1] for seq in (2, 3, 4, 5, 1)]
    assert words == ["park 2", "park 3", "park 4", "full", "apply 4"]
    assert said(world.give(event(5))) == ["apply 5"]


@given(st.data())
def test_any_order_with_repeats_ends_with_each_event_once_and_in_order(data: st.DataObject) -> None:
    """However messages are repeated and interleaved, what is applied is 1 to n."""
    count = data.draw(st.integers(1, 12))
    arrivals = data.draw(st.permutations(range(1, count + 1)))
    repeats = data.draw(st.lists(st.integers(1, count), max_size=8))
    world = World()
    applied = []
    for seq in [*arrivals[: count // 2], *repeats, *arrivals]:
        applied += [effect.event.seq for effect in world.give(piece(seq, 1, seq)) if isinstance(effect, Apply)]
    assert applied == list(range(1, count + 1))
