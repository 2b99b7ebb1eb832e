"""The promise, end to end: whatever drops, dies or restarts, every part and every record arrives exactly once after removing repeats."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from play import Play, Step
from scripted_plc import MODULUS, RATE

_SECONDS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 12.0])
_ORDERS = st.sampled_from([None, None, "A", "B", "C"])


@st.composite
def made(draw: st.DrawFn, what: str, arg: st.SearchStrategy[object] | None = None, *, orders: bool = False) -> Step:
    """Draw a step in which as many parts are made as the machine can make, or none."""
    seconds = draw(_SECONDS)
    parts = int(RATE * seconds * draw(st.sampled_from([0.0, 0.2, 1.0])))
    return Step(what, seconds, parts, draw(_ORDERS) if orders else None, None if arg is None else draw(arg))


FAULTS = st.tuples(st.integers(0, 6), st.sampled_from(["before", "after"]))
POINTS = st.sampled_from(["before_append", "after_append", "before_settle", "after_settle"])
STEPS = st.one_of(
    made("make", orders=True),
    made("make", orders=True),
    made("make"),
    made("miss"),
    made("bad", st.sampled_from([None, MODULUS + 4464, float("nan")])),
    made("cut", st.sampled_from([0, 0, 3]), orders=True),
    made("kill", orders=True),
    made("reboot", orders=True),
    st.integers(1, 3).map(lambda records: Step("weigh", arg=records)),
    st.integers(1, 3).map(lambda records: Step("weigh", arg=records)),
    POINTS.map(lambda point: Step("arm", arg=point)),
    POINTS.map(lambda point: Step("arm", arg=point)),
    st.one_of(st.just("away"), st.just("back"), FAULTS, FAULTS).map(lambda what: Step("broker", arg=what)),
)


def play(steps: list[Step], register: int = 0, window: int = 5, latencies: tuple[int, ...] = (0,)) -> Play:
    """Play ``steps`` in a fresh directory and judge the outcome."""
    with tempfile.TemporaryDirectory() as folder:
        played = Play(Path(folder), register, window, latencies)
        asyncio.run(played.run(steps))
    played.judge()
    return played


@settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, min_size=4, max_size=25),
    to_wrap=st.one_of(st.integers(1, 400), st.integers(1, MODULUS)),
    window=st.sampled_from([1, 3, 20]),
    latencies=st.lists(st.integers(0, 6), max_size=5).map(tuple),
)
def test_every_part_and_every_record_arrives_once_whatever_happens(steps, to_wrap, window, latencies):
    """Any mix of cuts, bad samples, restarts, kills and broker losses: the sum of deltas is what was made, numbers have no hole."""
    play(steps, MODULUS - to_wrap, window, latencies)


WORK = Step("make", 3, 40)
AFTERWARDS = [WORK, Step("weigh"), WORK]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([WORK] * 3, id="nothing goes wrong"),
        pytest.param([WORK, Step("kill", 5, 60), *AFTERWARDS], id="killed while parts are made"),
        pytest.param([WORK, Step("kill", 5, 60, "B"), *AFTERWARDS], id="killed while the order changes"),
        pytest.param([WORK, Step("arm", arg="before_append"), *AFTERWARDS], id="killed before a commit"),
        pytest.param([WORK, Step("arm", arg="after_append"), *AFTERWARDS], id="killed after a commit"),
        pytest.param(
            [Step("weigh"), Step("arm", arg="before_append"), Step("weigh", arg=3)], id="killed before a record is committed"
        ),
        pytest.param(
            [Step("weigh"), Step("arm", arg="after_append"), Step("weigh", arg=3)], id="killed before a record is acknowledged"
        ),
        pytest.param([WORK, Step("arm", arg="before_settle"), *AFTERWARDS], id="killed before a delivery is noted"),
        pytest.param([WORK, Step("arm", arg="after_settle"), *AFTERWARDS], id="killed after a delivery is noted"),
        pytest.param([WORK, Step("cut", 12, 200, "B", 3), *AFTERWARDS], id="PLC away while the order changes"),
        pytest.param([WORK, Step("bad", 3, 50), *AFTERWARDS], id="a bad sample"),
        pytest.param([WORK, Step("bad", 3, 50, arg=70_000), *AFTERWARDS], id="a number that no uint16 holds"),
        pytest.param([WORK, Step("reboot", 12, 200), *AFTERWARDS], id="PLC restarted and counted beyond its old value"),
        pytest.param([WORK, *[Step("reboot", 3, 5), Step("weigh")] * 3, *AFTERWARDS], id="PLC restarted three times"),
        pytest.param([Step("broker", arg=(2, "before")), WORK, *AFTERWARDS], id="broker lost before a record arrived"),
        pytest.param([Step("broker", arg=(2, "after")), WORK, *AFTERWARDS], id="broker lost before an acknowledgement arrived"),
        pytest.param([Step("broker", arg="away"), *[WORK] * 9, Step("kill"), *AFTERWARDS], id="killed while the broker is away"),
        pytest.param([Step("make", 3, 40, "B"), Step("make", 3, 40, "A"), Step("make", 3, 40, "B")], id="orders change in sight"),
    ],
)
def test_a_fault_of_each_kind_loses_and_doubles_nothing(steps):
    """One script for each fault, over the wrap of the counter: what the consumer has is what was made."""
    play(steps, MODULUS - 50, 3, (0, 3, 1))


def test_a_lost_acknowledgement_is_a_repeat_that_the_consumer_removes():
    """The bench has teeth: with records that arrived without their acknowledgement, some do come twice."""
    played = play([WORK, Step("broker", arg=(0, "after")), WORK, Step("broker", arg=(1, "after")), *AFTERWARDS])
    assert played.broker.consumer.repeated >= 1
    assert played.broker.connections == 3
