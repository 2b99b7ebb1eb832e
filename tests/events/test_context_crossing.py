"""Counts across a change of context: never silently the later one's; surely one's where a sample proves it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events.catalog import UnitConfig, fold_of, wiring_of
from edge_agent.events.derive import Fold, Tick
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import MS, NS
from edge_agent.model.reading import Batch, ClockOffset, DeviceUp, Tag

T0 = 1_792_904_400 * NS
POLLED = Tag("plc", "count", period=NS), Tag("plc", "order", period=NS // 10)


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


def unit(order: str = "plc.order", **more: Any) -> Fold:
    """Return a unit that counts ``plc.count``, polled or subscribed once a second."""
    one = {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "100/s", **more}
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "context": {"order": order}, "counters": {"total": one}})
    return fold_of(config, devices={"plc": POLLED, "erp": (Tag("erp", "order", period=NS // 10),)})


def poll(t: float, *, asked: float | None = None, **values: Any) -> Batch:
    """Return one answer: all rows at ``t``, asked for a moment before."""
    asked = t - 0.01 if asked is None else asked
    rows = len(values)
    index = [("count", "order").index(name) for name in values]
    return Batch("plc", at(t), index, list(values.values()), [0] * rows, [0] * rows, [0] * rows, asked=at(asked))


def sent(t: float, *, skew: float = 0, delay: float = 0.05, **values: Any) -> Batch:
    """Return one notification: all rows stamped ``t`` by a clock that is ``skew`` ahead."""
    rows, index = len(values), [("count", "order").index(name) for name in values]
    return Batch("plc", at(t + delay), index, list(values.values()), [0] * rows, [at(t + skew)] * rows, [0] * rows)


def erp(t: float, order: str) -> Batch:
    """Return the poll of another device that names the order."""
    return Batch("erp", at(t), [0], [order], [0], [0], [0], asked=at(t - 0.01))


def booked(fold: Fold, *batches: Batch) -> list[tuple[str | None, int, list[str | None]]]:
    """Return the counts behind a baseline with order A: (order, delta, candidates)."""
    up = [Batch(name, at(-1), before=(DeviceUp(name, at(-1)),)) for name in ("plc", "erp")]
    state = fold.fold(fold.start({})[0], up).state
    events: list[ProductionEvent] = []
    for batch in (*batches, Tick(at(100), final=True)):
        turn = fold.fold(state, [batch])
        state = turn.state
        events += turn.events
    return [
        (event.ctx.order, event.data["delta"], event.data.get("candidates", {}).get("order", []))
        for event in events
        if event.type == "production.count"
    ]


BEGIN = poll(0, count=100, order="A")
STAMPED = sent(0, count=100, order="A")


@pytest.mark.parametrize(
    ("story", "counts"),
    [
        pytest.param([poll(1, count=105), poll(1.5, order="B"), poll(2, count=110)], [("A", 5, []), (None, 5, ["A", "B"])], id="seen late"),
        pytest.param([poll(1, count=105), poll(1.5, order="B", count=107), poll(2, count=110)], [("A", 5, []), ("A", 2, []), ("B", 3, [])], id="one request"),
        pytest.param([poll(1.5, order="B"), poll(2, count=100), poll(3, count=102)], [("B", 2, [])], id="stood over it"),
        pytest.param([poll(1.5, order="B"), poll(9, count=102)], [("B", 2, [])], id="polled since, found standing"),
        pytest.param([poll(1.2, order="B"), poll(1.5, order="C"), poll(2, count=102)], [(None, 2, ["A", "B", "C"])], id="two changes"),
        pytest.param([poll(1.2, order="B"), poll(1.5, order="A"), poll(2, count=102)], [(None, 2, ["A", "B"])], id="there and back"),
        pytest.param([poll(1.5, order="B"), poll(2, count=102, order="C"), poll(3, count=103)], [(None, 2, ["A", "B"]), ("C", 1, [])], id="and another with it"),
        pytest.param([poll(1.5, order=""), poll(2, count=102)], [(None, 2, ["A", None])], id="order ended"),
    ],
)  # fmt: skip
def test_a_polled_counter(story: list[Batch], counts: list[Any]) -> None:
    """What may be of two orders is booked to none; one request, or two polls that it cannot lie across, settle it."""
    assert booked(unit(), BEGIN, *story) == counts


@pytest.mark.parametrize(
    ("story", "counts"),
    [
        pytest.param([sent(1.5, order="B"), sent(2, count=102)], [(None, 2, ["A", "B"])], id="in one sampling period"),
        pytest.param([sent(1.5, order="B"), sent(2.6, count=102)], [("B", 2, [])], id="a period later"),
        pytest.param([sent(1.5, order="B"), sent(1.5, count=102)], [("A", 2, [])], id="one scan, told apart"),
        pytest.param([sent(1.5, order="B"), sent(1.4, count=102, delay=0.3), sent(4, count=103)], [("A", 2, []), ("B", 1, [])], id="overtaken"),
    ],
)  # fmt: skip
def test_a_subscribed_counter(story: list[Batch], counts: list[Any]) -> None:
    """The device's own times split what it told, as finely as it samples."""
    assert booked(unit(), STAMPED, *story) == counts


@pytest.mark.parametrize(
    ("story", "counts"),
    [
        pytest.param([erp(1.5, "B"), poll(2, count=102)], [(None, 2, ["A", "B"])], id="seen late"),
        pytest.param([poll(1.52, asked=1.51, count=102), erp(1.5, "B"), poll(2, count=103)], [("A", 2, []), ("B", 1, [])], id="read before it is folded"),
        pytest.param([poll(1.52, asked=1.49, count=102), erp(1.5, "B"), poll(2, count=103)], [("A", 2, []), (None, 1, ["A", "B"])], id="asked for before"),
    ],
)  # fmt: skip
def test_the_order_of_another_device(story: list[Batch], counts: list[Any]) -> None:
    """A counter that was asked for since the change was seen closes the old order."""
    assert booked(unit("erp.order"), erp(-0.1, "A"), poll(0, count=100), *story) == counts


@pytest.mark.parametrize(("measured", "counts"), [(True, ("B", 2, [])), (False, (None, 2, ["A", "B"]))])
def test_two_clocks_are_as_far_apart_as_is_known(measured: bool, counts: Any) -> None:
    """A PLC that runs an hour ahead is set right where its clock was measured; else half a second around the change is nobody's."""
    skew = 3600 if measured else 0
    first = sent(0, skew=skew, count=100)
    first.before = (ClockOffset("plc", at(0), skew * NS),) if measured else ()
    assert booked(unit("erp.order"), erp(-1, "A"), first, erp(1.5, "B"), sent(2.7, skew=skew, count=102)) == [counts]


def test_a_counter_that_is_zeroed_with_the_order_is_the_later_ones() -> None:
    """What a register that was zeroed for the order shows was made in it; one that goes on counting proves nothing."""
    per_order = unit(reset_policy="per_order")
    assert booked(per_order, BEGIN, poll(1.5, order="B"), poll(2, count=3)) == [("B", 3, [])]
    assert booked(per_order, BEGIN, poll(1.5, order="B"), poll(2, count=103)) == [(None, 3, ["A", "B"])]


def test_totals_of_the_later_order_hold_nothing_that_is_not_surely_its() -> None:
    """Neither ``totals_at`` nor the counts of B have what lies across its start."""
    fold = unit()
    state = fold.fold(fold.start({})[0], [Batch("plc", at(-1), before=(DeviceUp("plc", at(-1)),))]).state
    story = (BEGIN, poll(1.5, order="B"), poll(2, count=105), poll(5, count=108), poll(6, count=108, order=""))
    events: list[ProductionEvent] = []
    for batch in story:
        turn = fold.fold(state, [batch])
        state, events = turn.state, events + list(turn.events)
    ended = {event.data["order"]: event.data["totals_at"]["total"] for event in events if event.type == "order.completed"}
    assert ended["B"] == 3


def test_what_is_read_with_a_change_is_wired() -> None:
    """The driver learns which tags name what is made, and which count; a topic of the MES is no tag of a device."""
    one = {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "1/s"}
    content = {
        "version": 1,
        "unit": "press",
        "context": {"order": "erp.order", "lot": {"mqtt": "mes/lot"}},
        "counters": {"total": one},
    }
    wired = wiring_of(UnitConfig.model_validate(content))
    assert {name: (one.boundary, one.counted) for name, one in wired.items()} == {
        "erp": (frozenset({"order"}), frozenset()),
        "plc": (frozenset(), frozenset({"count"})),
    }


@given(
    made=st.lists(st.integers(1, 20_000), max_size=60),
    changes=st.lists(st.integers(500, 19_500), max_size=5, unique=True),
    slow=st.integers(1, 30),
    quick=st.integers(1, 5),
    forced=st.booleans(),
    restarts=st.sets(st.integers(0, 200), max_size=3),
)
def test_no_order_is_given_what_it_did_not_make(
    made: list[int], changes: list[int], slow: int, quick: int, forced: bool, restarts: set[int]
) -> None:
    """Whatever the poll periods (x 100 ms) and wherever the state was stored: an order has at most what was made from its start to when its end was seen.

    Together with what is nobody's it is all that was made. Values that stand are not reported, as Modbus drivers do.
    """
    tags = (Tag("plc", "count", period=slow * 100 * MS), Tag("plc", "order", period=quick * 100 * MS))
    one = {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "1000/s", "burst": 100}
    config = UnitConfig.model_validate(
        {"version": 1, "unit": "press", "context": {"order": "plc.order"}, "counters": {"total": one}}
    )
    fold = fold_of(config, devices={"plc": tags})
    starts = [0, *sorted(changes)]
    first = Batch("plc", T0, [0, 1], [0, "WO-0"], [0, 0], [0, 0], [0, 0], before=(DeviceUp("plc", T0),), asked=T0)
    state = fold.fold(fold.start({})[0], [first]).state
    events: list[ProductionEvent] = []
    ends: dict[str, int] = {}
    count, order = 0, "WO-0"
    for step in range(1, 240):
        now = step * 100
        rows: list[tuple[int, Any]] = []
        named = f"WO-{sum(start <= now for start in starts) - 1}"
        changed = step % quick == 0 and named != order
        total = sum(1 for instant in made if instant <= now)
        if (step % slow == 0 and total != count) or (changed and forced):
            rows.append((0, total))
            count = total
        if changed:
            for past in range(int(order[3:]), int(named[3:])):
                ends[f"WO-{past}"] = now
            rows.append((1, named))
            order = named
        if rows:
            blank = [0] * len(rows)
            batch = Batch(
                "plc",
                T0 + now * MS,
                [tag for tag, _ in rows],
                [value for _, value in rows],
                blank,
                blank,
                blank,
                asked=T0 + now * MS,
            )
            turn = fold.fold(state, [batch])
            state, events = turn.state, events + list(turn.events)
            if step in restarts:
                held = fold.start(fold.stored(state))[0]
                state = type(state)(
                    held.rules, held.picture, state.window, state.telemetry, state.boundary, state.since, state.ticked
                )
    counts = [event for event in events if event.type == "production.count"]
    assert sum(event.data["delta"] for event in counts) == count
    for number, start in enumerate(starts):
        name = f"WO-{number}"
        own = sum(event.data["delta"] for event in counts if event.ctx.order == name)
        assert own <= sum(1 for instant in made if start < instant <= ends.get(name, 30_000))
    if forced:
        assert all(event.ctx.order is not None for event in counts)
