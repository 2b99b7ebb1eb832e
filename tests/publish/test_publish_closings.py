"""The search for a message that a broker closes the connection for without a word: pure, on simulated bad lines."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.publish.closings import Closings, Course, Named

DOCUMENTS = (Named("status", "status", 700), Named("meta", "meta", 1_500), Named("state", "state", 300))
WINDOW = 5


def named(number: int, size: int = 400) -> Named:
    """Return a record of the one topic."""
    return Named("t", f"r{number}", size)


class ClosedError(Exception):
    """The simulated connection is over, with this in flight."""

    def __init__(self, *flight: Named) -> None:
        self.flight = flight


class Line:
    """One connection: it carries ``budget`` bytes and stands ``life`` seconds; ``rtt`` s, ``speed`` bytes/s; after ``count`` messages the broker crashes."""

    def __init__(self, budget: float, life: float, rtt: float, speed: float, count: float = float("inf")) -> None:
        self.budget, self.life, self.rtt, self.speed, self.count = budget, life, rtt, speed, count
        self.age, self.carried, self.messages = 0.0, 0, 0

    @property
    def so_far(self) -> Course:
        return Course(self.age, self.carried, self.messages)

    def wait(self, seconds: float) -> None:
        self.age += seconds
        if self.age > self.life:
            raise ClosedError

    def send(self, message: Named, *, refused: bool = False) -> None:
        """Carry a message and its acknowledgement, or be closed by the broker that ``refused`` it."""
        self.age += message.size / self.speed + self.rtt
        if refused or self.age > self.life or self.carried + message.size > self.budget or self.messages >= self.count:
            raise ClosedError(message)
        self.carried += message.size
        self.messages += 1


def connection(closings: Closings, line: Line, waiting: list[Named], poison: str = "") -> Named | None:
    """Play one connection with ``waiting`` records, taking off what is acknowledged; return who is found guilty."""
    trial = False
    try:
        for document in DOCUMENTS:
            line.send(document)
            closings.accepted(document)
        while waiting:
            flight = waiting[: 1 if closings.careful else WINDOW]
            proof = closings.proof(flight[0], line.so_far)
            if proof is not None:
                size, messages = line.carried + proof.size, line.messages + proof.messages
                line.wait(proof.age)
                while line.carried < size or line.messages < messages:
                    line.send(DOCUMENTS[1])
                trial = True
            for place, message in enumerate(flight):
                try:
                    line.send(message, refused=message.name == poison)
                except ClosedError:
                    raise ClosedError(*flight[place:]) from None
                waiting.pop(0)
                closings.accepted(message)
            trial = False
    except ClosedError as closed:
        on_trial = line.so_far if trial and list(closed.flight) == waiting[:1] else None
        return closings.closed(closed.flight, on_trial)
    return None


HAZARDS: dict[str, Callable[[Random, float], float]] = {
    "fixed": lambda _, mean: mean,
    "uniform": lambda random, mean: random.uniform(0, 2 * mean),
    "exponential": lambda random, mean: random.expovariate(1 / mean),
    "two": lambda random, mean: random.choice((mean / 3, 2 * mean)),
}


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(HAZARDS)),
    by=st.sampled_from(("bytes", "time", "messages")),
    mean=st.floats(0.2, 8.0),
    size=st.integers(50, 20_000),
    rtt=st.sampled_from((0.001, 0.1, 1.0)),
    seed=st.integers(0, 2**32),
)
def test_a_bad_line_never_accuses_a_message(kind, by, mean, size, rtt, seed):
    """Ends after some bytes, seconds or messages, always the same or at random, tuned to hit the first record: nobody is ever found guilty."""
    random, closings = Random(seed), Closings(6)
    birth, speed = sum(document.size for document in DOCUMENTS), 50_000.0
    waiting = [named(n, size) for n in range(300)]
    for _ in range(150):
        budget = birth + HAZARDS[kind](random, mean * size) if by == "bytes" else float("inf")
        life = 3 * rtt + HAZARDS[kind](random, mean * (rtt + 1)) if by == "time" else float("inf")
        count = len(DOCUMENTS) + HAZARDS[kind](random, mean) if by == "messages" else float("inf")
        assert connection(closings, Line(budget, life, rtt, speed, count), waiting) is None


@pytest.mark.parametrize("by", ["bytes", "time"])
def test_a_limit_that_lets_nothing_through_is_not_the_message(by):
    """A line that, once the search has begun, always breaks at the same byte or second: the next trial shows more first, and refutes it."""
    tried = 0
    for step in range(1, 150):
        closings, first = Closings(2), named(0, 2_000)
        for _ in range(30):
            limit = step if closings.careful else 1
            budget = 2_500 + limit * 100 if by == "bytes" else float("inf")
            life = 3.2 + limit / 10 if by == "time" else float("inf")
            assert connection(closings, Line(budget, life, 1.0, 1e6), [first]) is None
            tried = max(tried, closings.trials)
    assert tried == 1


@pytest.mark.parametrize("place", range(7))
def test_the_one_that_is_meant_is_found_wherever_it_stands(place):
    """On a good line: three ends until one at a time goes, one that finds who is alone, six trials; everything else is acknowledged."""
    closings, waiting = Closings(6), [named(n) for n in range(9)]
    ends = 0
    guilty = None
    while guilty is None:
        ends += 1
        assert ends <= 11
        guilty = connection(closings, Line(1e9, 1e9, 0.001, 1e6), waiting, poison=f"r{place}")
    assert guilty == named(place)
    assert waiting[0] == guilty
    assert not closings.careful


def test_the_one_that_is_meant_is_found_on_a_line_that_breaks_now_and_then():
    """Every fifth connection or so ends early for another reason: that only takes longer."""
    random, closings, waiting = Random(7), Closings(6), [named(0), named(1)]
    for _ in range(1_000):
        budget = random.uniform(0, 4_000) if random.random() < 0.2 else 1e9
        if connection(closings, Line(budget, 1e9, 0.001, 1e6), waiting, poison="r0") == named(0):
            return
    pytest.fail("not found")


def test_any_other_course_starts_the_trials_anew():
    """Another end, an end in quiet, one that came late: the count of trials begins again, and an acknowledgement forgets it all."""
    closings = Closings(3)
    courses: list[Callable[[], object]] = [
        closings.ended,
        lambda: closings.closed([], Course(1, 1, 1)),
        lambda: closings.closed([DOCUMENTS[0]], Course(1, 1, 1)),
        lambda: closings.closed([named(0)], None),
        lambda: closings.closed([named(0), named(1)], Course(1, 1, 1)),
        lambda: closings.accepted(named(0)),
    ]
    for course in courses:
        for _ in range(4):
            closings.closed([named(0)], None)
        assert closings.careful
        for _ in range(2):
            assert closings.closed([named(0)], Course(1, 1, 1)) is None
        assert closings.trials == 2
        course()
        assert closings.trials == 0


def test_a_topic_that_takes_nothing_loses_one_record_at_most():
    """Whoever may not write there is cut off for every record: after the first no other is tried, until one has been taken there."""
    closings = Closings(2)

    def ends(message: Named) -> Named | None:
        for _ in range(4):
            closings.closed([message], None)
        for _ in range(2):
            shown = closings.proof(message, Course(0, 0, 0))
            guilty = closings.closed([message], Course(1, 1, 1) if shown else None)
        return guilty

    assert ends(named(0)) == named(0)
    assert ends(named(1)) is None
    assert ends(named(1)) is None
    assert ends(Named("other", "o1", 100)) == Named("other", "o1", 100)
    closings.accepted(named(1))
    assert ends(named(2)) == named(2)


def test_each_trial_outlives_and_outweighs_the_one_before():
    """What a connection has to show grows by more than the last one had, so that no fixed limit is met twice."""
    closings = Closings(6)
    for _ in range(4):
        closings.closed([named(0)], None)
    last = Course(0, 0, 0)
    for _ in range(5):
        begun = Course(0.2, 1_000, 3)
        proof = closings.proof(named(0), begun)
        assert proof is not None
        assert proof.age >= 1.0
        assert proof.size >= 2 * 400
        assert proof.messages >= 3
        shown = Course(*(before + more for before, more in zip(begun, proof, strict=True)))
        assert all(now > before for now, before in zip(shown, last, strict=True))
        closings.closed([named(0)], shown)
        last = Course(shown.age, shown.size + 400, shown.messages + 1)
    assert closings.proof(named(1), Course(0, 0, 0)) is None
