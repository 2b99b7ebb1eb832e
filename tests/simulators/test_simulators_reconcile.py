"""The MOM side's judgement: strict where something could be seen, and nowhere else."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from simulators_true_books import declare

from simulators.books import Books, Spanned, Stop
from simulators.compare_figures import of_order
from simulators.inbox import Inbox
from simulators.reconcile import Reconciliation
from simulators.scenario import load_scenario
from simulators.truth import truth
from simulators.unseen import erasures, parts

SCENARIOS = Path(__file__).parents[1] / "e2e" / "scenarios"


def judged(name: str, *, faults: bool = False, missing: dict[float, int] | None = None, spanned: tuple[Spanned, ...] = ()):
    """Return the comparison of a scenario with books that hold every part but ``missing`` (plant s -> how many to drop)."""
    scenario = load_scenario(SCENARIOS / f"{name}.yaml")
    true, books, left_out = truth(scenario), Books(scenario.epoch), dict(missing or {})
    modes = {1: "Production", 2: "Maintenance", 3: "Manual"}
    for part in parts(scenario):
        if left_out.pop(part.t, 0):
            continue
        for disposition in ("total", *(("scrap",) if part.scrap else ())):
            books.counts[part.order, modes[part.mode], part.shift, disposition] += 1
    assert not left_out, "no such part"
    for order in true.orders:
        books.orders[order.order] = [order.started or None, order.ended]
    books.spanned.extend(spanned)
    return Reconciliation(scenario, true, books, Inbox(), faults=faults, speed=10)


def rows(check: Reconciliation) -> dict[str, bool]:
    """Return the verdict of every row."""
    return {row.what: row.ok for row in check.rows()}


@pytest.mark.parametrize("name", ["hostile-a", "samemode", "sameshift", "offexec", "noprod", "pouches"])
def test_books_that_hold_every_part_agree_with_the_truth(name):
    """Parts by order, mode and shift, found one by one, are the sums of the closed form."""
    counted = {
        what: ok for what, ok in rows(judged(name)).items() if what.startswith(("order", "no order", "shift")) and "total" in what
    }
    assert counted
    assert all(counted.values())


def test_an_order_that_was_told_to_last_no_time_differs():
    """It has no figures; who tells beginning and end of an order at one moment is wrong, and the judgement goes on."""
    check = judged("pouches")
    check.books.orders["SO-77"][1] = check.books.orders["SO-77"][0]
    (row,) = [row for row in check.rows() if row.what.startswith("OEE SO-77")]
    assert (row.received, row.ok) == ("order of no length", False)


def test_a_part_that_could_be_seen_must_be_there():
    """One part missing in the middle of an order differs, in its order and in its shift."""
    wrong = {what for what, ok in rows(judged("offexec", missing={30.5: 1})).items() if not ok}
    assert {"order SO-77 total/scrap/good", "shift M total/scrap/good"} <= wrong


def test_the_last_part_before_a_power_off_may_be_in_no_register_any_more():
    """Counted 30 ms before the power went, zero at the next boot: nobody could read it."""
    found = rows(judged("offexec", missing={150.1: 1}))
    assert found["order SO-78 total/scrap/good"]
    assert found["shift A total/scrap/good"]


def test_more_than_there_was_is_never_right():
    """A part too many differs even beside a power-off."""
    check = judged("offexec")
    check.books.counts["SO-78", "Production", "A", "total"] += 1
    assert not rows(check)["order SO-78 total/scrap/good"]


def test_what_the_plc_forgot_must_have_been_declared():
    """The register total may fall short only within the bounds that the agent declared."""
    check = judged("offexec")
    check.books.totals["total"] = (0, 274)
    assert not rows(check)["counter total: counted"]
    check.books.steps.append((170.0, {"counter": "total", "kind": "device_restart", "uncounted": {"min": 0, "max": 91}}))
    assert rows(check)["counter total: counted"]


def test_parts_across_a_change_that_nobody_saw_stand_beside_the_orders():
    """The order may lack what is booked across its end in a declared gap, and not one part more."""
    lost = Spanned(144.0, 172.0, "total", 60, None, ("order",))
    check = judged("sameserial", faults=True, spanned=(lost,))
    declare(check, 144.0, 172.0, "agent_down", None, "*")
    held = check.short("total", "order", partial(of_order, "SO-78"))
    assert held == sum(part.order == "SO-78" and 144.0 < part.t <= 172.0 for part in parts(check.scenario))
    assert rows(check)["counts booked to several contexts"]


def test_parts_across_contexts_outside_every_fault_differ():
    """An agent that cannot tell where it should does not pass."""
    check = judged("sameserial", spanned=(Spanned(20.0, 22.0, "total", 3, None, ("order",)),))
    assert not rows(check)["counts booked to several contexts"]


def test_samples_of_one_serial_number_are_told_apart_by_their_order():
    """Thirteen samples with the same serial: all there, one missing, one with another value."""
    check = judged("sameserial")
    check.books.samples = [(one.t, one.serial, float(one.weight), one.verdict) for one in check.truth.samples]
    found = rows(check)
    assert found["samples"]
    assert found["NOK samples at"]
    assert found["samples with another value"]
    check.books.samples[4] = (75.0, check.books.samples[4][1], 1.0, "ok")
    assert not rows(check)["samples with another value"]
    del check.books.samples[4]
    assert not rows(check)["samples"]


def test_a_sample_lost_with_the_power_is_known_from_the_plc_alone():
    """Only the PLC's own ledger excuses a missing sample."""
    check = judged("offexec")
    check.books.samples = [(one.t, one.serial, float(one.weight), one.verdict) for one in check.truth.samples if one.t != 150]
    assert not rows(check)["samples"]
    lost = next(one.k for one in check.truth.samples if one.t == 150)
    check.ledgers.append({"t": 150.13, "what": "sample.lost", "value": {"k": lost, "seq": 10, "boot": 0}})
    assert rows(check)["samples"]


def test_a_stop_may_be_unknown_only_where_nobody_looked():
    """The stop of 170 to 174 s, all of it before the agent was back; the others have to be there."""
    check = judged("offexec")
    assert not rows(check)["downtime 4 at 170 s"]
    declare(check, 150.0, 174.05, "comm_loss", "plc1", "plc1.*")
    found = rows(check)
    assert found["downtime 4 at 170 s"]
    assert not found["downtime 1 at 42 s"]
    check.books.stops["one"] = Stop(42.0, "SO-77", 56.0, 14.0, "held", 3105, micro=False, ended_events=1, began=True)
    assert rows(check)["downtime 1 at 42 s"]
    check.books.stops["one"].category = "stopped"
    assert not rows(check)["downtime 1 at 42 s"]


def test_a_counter_goes_to_zero_with_what_was_not_read():
    """From the last read to the zero; from its beginning where a declared gap lies around it."""
    scenario = load_scenario(SCENARIOS / "offexec.yaml")
    assert [zeroed for _, zeroed in erasures(scenario, [], 0.2)] == [150.13, 121.0]
    assert [read for read, _ in erasures(scenario, [(140.0, 160.0)], 0.2)] == [140.0, pytest.approx(120.8)]


def test_parts_know_what_they_belong_to():
    """Made outside production: no order; in the scan that ends an order: still that order's."""
    found = {part.t: part for part in parts(load_scenario(SCENARIOS / "samemode.yaml"))}
    assert (found[31.0].order, found[31.5].order, found[33.0].order) == ("SO-77", None, None)
    assert found[33.0].mode == 2


def test_of_several_restarts_that_nobody_saw_one_stands_for_all():
    """Two power-offs inside one declared gap are one restart for whoever comes back; outside it each is told."""
    check = judged("hostile-a")
    check.books.steps = [
        (150.0, {"counter": "total", "kind": "device_restart"}),
        (360.0, {"counter": "total", "kind": "device_restart"}),
    ]
    assert check._same_times([150.0, 360.0], [150.0, 360.0])
    assert not check._same_times([150.0, 360.0], [360.0])
    declare(check, 100.0, 155.0, "agent_down", None, "*")
    assert not check._same_times([150.0, 360.0], [360.0])  # the gap holds one of them alone
    check.books.gaps.clear()
    declare(check, 100.0, 365.0, "agent_down", None, "*")
    assert check._same_times([150.0, 360.0], [360.0])
    assert not check._same_times([150.0, 360.0], [370.0])  # nor may the one that stands for all be told long after it


def test_what_stood_before_anybody_looked_is_known_from_the_first_snapshot():
    """A machine that runs, and an alarm that stands, when the agent starts."""
    books = judged("hostile-a").books
    state, alarm = {"code": 6, "name": "Execute", "category": "running"}, {"instance_id": "u/5/1", "alarm_id": "5"}
    since = "2026-03-29T00:57:00Z"
    books._state_snapshot(1.0, {"state": state, "since": since, "mode": None, "alarms": [{**alarm, "since": since}]}, {})
    assert books.begin == (0.0, state, None)
    assert books.alarms["u/5/1"] == ["5", 0.0, None]
