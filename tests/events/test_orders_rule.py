"""Rows 18 and 19 of the catalogue: the life of an order beyond its number, and changeovers."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rulebench import at
from unitbench import COUNTER, UnitBench, brief

from edge_agent.events.catalog import UnitConfig, rules_of
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Quality, Tag

STATES = {"state": "plc.job", "states": {0: "waiting", 1: "running", 2: "paused", 3: "completed", 4: "aborted"}}


def line_of(orders: dict[str, Any] = STATES, **more: Any) -> UnitBench:
    """Return a unit with orders."""
    context = {"order": "plc.order", "product": "plc.product"}
    return UnitBench({"context": context, "counters": {"total": COUNTER}, "orders": orders, **more})


def told(line: UnitBench, t: float, **values: Any) -> list[tuple[Any, ...]]:
    """Return type and order of what the moment caused."""
    return brief(line.say(t, {f"plc.{name}": value for name, value in values.items()}), "order")


def test_row_18_an_order_from_start_to_end() -> None:
    """Started, paused, resumed and completed, each once, with what was made since the start."""
    line = line_of()
    assert told(line, 0, order="", job=0, count=100, product="4711") == []
    assert told(line, 1, order="WO-1") == []
    assert told(line, 2, job=1) == [("order.started", "WO-1")]
    assert told(line, 3, count=110) == []
    assert told(line, 4, job=2) == [("order.paused", "WO-1")]
    assert told(line, 5, job=1) == [("order.resumed", "WO-1")]
    (event,) = line.say(6, {"plc.job": 3, "plc.count": 125})
    assert event.data == {
        "order": "WO-1",
        "operation": None,
        "product": "4711",
        "lot": None,
        "planned_qty": None,
        "state": "Ended.Completed",
        "source": "plc",
        "totals_at": {"total": 25},
        "totals": {"total": 25},
    }
    assert told(line, 7, order="") == []


def test_row_18_states_are_those_of_a_job_order() -> None:
    """The names of OPC 10031-4."""
    line = line_of()
    told(line, 0, order="WO-1", job=0, count=0, product="")
    states = [line.say(t, {"plc.job": job})[0].data["state"] for t, job in ((1, 1), (2, 2), (3, 1), (4, 4))]
    assert states == ["Running", "Interrupted.Held", "Running", "Aborted"]


def test_row_18_an_order_that_is_cleared_while_it_runs_was_completed() -> None:
    """As without a state: the number alone ends it."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="")
    assert told(line, 5, order="") == [("order.completed", "WO-1")]


def test_row_18_an_order_that_changes_in_one_sample_is_completed_and_started() -> None:
    """Edge case: order cleared and set in the same scan, the state stays running; each event stands in the right context."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="A")
    completed, started = line.say(5, {"plc.order": "WO-2", "plc.product": "B", "plc.count": 30})
    assert brief([completed, started], "order", "product", "totals_at") == [
        ("order.completed", "WO-1", "A", {"total": 30}),
        ("order.started", "WO-2", "B", {"total": 0}),
    ]
    assert completed.time == started.time == at(5)


def test_row_18_an_aborted_order_is_not_completed_too() -> None:
    """State and number may go in one scan."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="")
    assert told(line, 5, order="", job=4) == [("order.aborted", "WO-1")]


def test_row_18_the_end_of_one_order_says_nothing_of_the_next() -> None:
    """The state may still stand at completed when the next number comes."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="")
    assert told(line, 5, job=3) == [("order.completed", "WO-1")]
    assert told(line, 6, order="WO-2") == []
    assert told(line, 7, job=1) == [("order.started", "WO-2")]


def test_row_18_the_first_sight_is_a_baseline() -> None:
    """An order that runs when the agent comes was not started then; what ends it is told."""
    line = line_of()
    assert told(line, 0, order="WO-1", job=2, count=0, product="") == []
    assert told(line, 1, job=1) == [("order.resumed", "WO-1")]


def test_row_18_a_state_that_no_table_knows_says_nothing() -> None:
    """Never a guess."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="")
    assert told(line, 1, job=77) == []
    assert told(line, 2, job=1) == []


def test_row_18_bits_by_priority() -> None:
    """The first bit that is on holds."""
    bits = {"bits": [{"when": "plc.hold", "is": "paused"}, {"when": "plc.run", "is": "running"}], "otherwise": "waiting"}
    line = line_of(bits)
    told(line, 0, order="WO-1", hold=False, run=False, count=0, product="")
    assert told(line, 1, run=True) == [("order.started", "WO-1")]
    assert told(line, 2, hold=True) == [("order.paused", "WO-1")]
    assert told(line, 3, hold=False) == [("order.resumed", "WO-1")]


def test_row_18_a_pause_that_is_found_behind_a_loss_has_an_interval() -> None:
    """Nobody saw when it was paused."""
    line = line_of()
    told(line, 0, order="WO-1", job=1, count=0, product="")
    line.down(20, 10)
    line.up(30)
    (event,) = line.say(31, {"plc.job": 2, "plc.order": "WO-1", "plc.count": 3})
    assert (event.type, event.interval) == ("order.paused", (at(10), at(31)))


def test_row_18_planned_quantity_and_operation_are_read() -> None:
    """Where the PLC knows them."""
    line = line_of(STATES | {"planned_qty": "plc.planned", "operation": "plc.op"})
    told(line, 0, order="", job=0, count=0, product="", planned=0, op=0)
    (event,) = line.say(1, {"plc.order": "WO-1", "plc.job": 1, "plc.planned": 500, "plc.op": 20})
    assert (event.data["planned_qty"], event.data["operation"]) == (500, 20)


def test_row_18_what_is_planned_stands_there_before_the_start_and_ends_with_its_order() -> None:
    """A quantity that was set with the number is told at the start, and the next order's is not told of the one that it ends."""
    line = line_of({**STATES, "planned_qty": "plc.planned", "operation": "plc.op"})
    told(line, 0, order="WO-1", job=0, count=0, product="", planned=500, op="10")
    told(line, 1, count=1)
    (started,) = line.say(2, {"plc.job": 1})
    ended, following = line.say(3, {"plc.order": "WO-2", "plc.planned": 80})
    assert [(one.data["order"], one.data["planned_qty"], one.data["operation"]) for one in (started, ended, following)] == [
        ("WO-1", 500, "10"),
        ("WO-1", 500, "10"),
        ("WO-2", 80, "10"),
    ]
    (paused,) = line.say(4, {"plc.job": 2, "plc.planned": None})
    assert paused.data["planned_qty"] is None


def test_row_18_orders_need_an_order() -> None:
    """A life without a number belongs to nothing."""
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "orders": STATES})
    with pytest.raises(ConfigError, match=r"add context: \{order: device.tag\}"):
        rules_of(config, tags={"plc.job": Tag("plc", "job")})


@pytest.mark.parametrize(
    ("orders", "remedy"),
    [({}, "state: device.tag with a table, or from bits"), ({"state": "plc.job"}, "say what the states mean")],
)
def test_row_18_a_state_without_a_meaning_is_refused(orders: dict[str, Any], remedy: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=remedy):
        line_of(orders)


CONTEXT = {"context": {"product": "plc.product"}}


def test_row_19_setup_from_a_bit_has_both_products_and_its_time() -> None:
    """The window between two products."""
    line = UnitBench({**CONTEXT, "setup": {"tag": "plc.setup"}})
    assert line.say(0, {"plc.setup": False, "plc.product": "A"}) == []
    (started,) = line.say(60, {"plc.setup": True})
    line.say(300, {"plc.product": "B"})
    (completed,) = line.say(660, {"plc.setup": False})
    assert started.data == {"setup_id": f"press/setup/{at(60)}", "from_product": "A", "to_product": None, "duration_s": None}
    assert completed.data == {"setup_id": f"press/setup/{at(60)}", "from_product": "A", "to_product": "B", "duration_s": 600}
    assert started.causation == completed.causation


def test_row_19_a_product_that_changes_with_the_begin_is_the_next_one() -> None:
    """Product and bit in one scan: the setup leads from the product before."""
    line = UnitBench({**CONTEXT, "setup": {"tag": "plc.program", "values": [16], "to_product": "plc.next"}})
    line.say(0, {"plc.program": 1, "plc.product": "A", "plc.next": "B"})
    (started,) = line.say(60, {"plc.program": 16, "plc.product": "B"})
    assert brief([started], "from_product", "to_product") == [("setup.started", "A", "B")]


def test_row_19_setup_from_the_mode() -> None:
    """A mode of the unit's own that means setup."""
    state = {"tag": "plc.state", "model": "packml", "mode": "plc.mode"}
    line = UnitBench({"state": state, "setup": {"modes": [4]}})
    line.say(0, {"plc.state": 6, "plc.mode": 1})
    assert brief(line.say(60, {"plc.mode": 4})) == [("setup.started",)]
    assert brief(line.say(90, {"plc.mode": 1}), "duration_s") == [("setup.completed", 30)]


def test_row_19_setup_from_a_state() -> None:
    """A state of the unit that means setup, by number or name."""
    line = UnitBench({"state": {"tag": "plc.state", "model": "packml"}, "setup": {"states": ["Suspended"]}})
    line.say(0, {"plc.state": 6})
    (started,) = line.say(60, {"plc.state": 5})
    assert (started.type, started.time) == ("setup.started", at(60))
    assert brief(line.say(90, {"plc.state": 6}), "duration_s") == [("setup.completed", 30)]


def test_row_19_a_setup_whose_end_was_not_seen_has_no_duration() -> None:
    """An interval instead."""
    line = UnitBench({**CONTEXT, "setup": {"tag": "plc.setup"}})
    line.say(0, {"plc.setup": False, "plc.product": "A"})
    line.say(60, {"plc.setup": True})
    line.agent_down(100, 200)
    (event,) = line.say(201, {"plc.setup": False, "plc.product": "A"})
    assert (event.data["duration_s"], event.interval) == (None, (at(100), at(201)))
    assert event.quality is Quality.GOOD


@pytest.mark.parametrize(
    ("setup", "remedy"), [({}, "say what means setup"), ({"modes": [4], "values": [1]}, "values belong to a tag")]
)
def test_row_19_what_means_no_setup_is_refused(setup: dict[str, Any], remedy: str) -> None:
    """The configuration says what is missing."""
    with pytest.raises(ValidationError, match=remedy):
        UnitConfig.model_validate({"version": 1, "unit": "press", "setup": setup})


def test_row_19_a_setup_mode_needs_a_mode() -> None:
    """Modes without a mode tag are refused."""
    config = UnitConfig.model_validate({"version": 1, "unit": "press", "setup": {"modes": [4]}})
    with pytest.raises(ConfigError, match=r"add state: \{mode: device.tag\}"):
        rules_of(config, tags={})


def test_an_order_that_the_mes_names_says_so() -> None:
    """Where its number comes from a topic, the source is the MES, also when its state comes from the PLC."""
    line = line_of(context={"order": {"mqtt": "mes/order"}})
    line.say(0, {"(mqtt).order": "WO-1", "plc.job": 0, "plc.count": 0})
    (event,) = line.say(1, {"plc.job": 1})
    assert (event.type, event.data["order"], event.data["source"]) == ("order.started", "WO-1", "mes")
