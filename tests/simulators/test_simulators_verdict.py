"""The MOM side's verdict: books that are the truth pass, and one thing wrong in them is refused, beside a declared gap and inside one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from simulators_true_books import BAD, CUT, KILLED, POWER_OFF, SPEED, declare, line

from simulators.blindness import FIRST_READ, MACHINE, POLL, RETURN, SAMPLING, TRANSIT
from simulators.books import Spanned
from simulators.outcome import AlarmTruth
from simulators.reconcile import Reconciliation
from simulators.stops import Downtime
from simulators.vocabulary import SECOND

Spoil = Callable[[Reconciliation], object]

FIRST, LAST = "WO-1001", "WO-1002"
TOTALS, LATER_TOTALS = "order WO-1001 total/scrap/good", "order WO-1002 total/scrap/good"
NIGHT = (FIRST, "Production", "N", "total")
MORNING = (FIRST, "Production", "M", "total")
EXPLAINED, COVERED = "declared gaps that no fault explains", "faults that no gap covers"


def refused(check: Reconciliation) -> set[str]:
    """Return the rows that differ."""
    return {row.what for row in check.rows() if not row.ok}


def move(one: tuple, other: tuple | None, parts: int = 1) -> Spoil:
    """Book parts in another place, or nowhere (then the register's total lacks them as well)."""

    def spoil(check: Reconciliation) -> None:
        check.books.counts[one] -= parts
        if other is not None:
            check.books.counts[other] += parts
        else:
            name = "reject" if one[-1] == "scrap" else "total"
            check.books.totals[name] = (0, check.books.totals[name][1] - parts)

    return spoil


def stop(name: str, **values: object) -> Spoil:
    """Tell a stop otherwise."""
    return lambda check: check.books.stops.__setitem__(name, replace(check.books.stops[name], **values))


def change(t: float, **values: object) -> Spoil:
    """Tell the change of state at ``t`` otherwise: ``at`` another time, ``to`` another state."""

    def spoil(check: Reconciliation) -> None:
        place = next(n for n, one in enumerate(check.books.states) if one[0] == t)
        time, before, after, data = check.books.states[place]
        after = {"code": values["to"], "category": "stopped"} if "to" in values else after
        check.books.states[place] = (values.get("at", time), before, after, data)

    return spoil


def without_states(*times: float) -> Spoil:
    """Tell nothing of some changes of state."""
    return lambda check: check.books.states.__setitem__(slice(None), [one for one in check.books.states if one[0] not in times])


def gap(window: tuple[float, float], begin: float | None, end: float | None = None, **values: object) -> Spoil:
    """Declare a gap otherwise; without a beginning not at all."""

    def spoil(check: Reconciliation) -> None:
        place = next(n for n, (time, _) in enumerate(check.books.gaps) if time == window[1])
        data = check.books.gaps.pop(place)[1]
        if begin is not None:
            told = {**data, **values}
            declare(check, begin, window[1] if end is None else end, told["reason"], told["device"], *told["tags"])

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """Do several things."""
    return lambda check: [spoil(check) for spoil in spoils]


def alarm(name: str, *values: object) -> Spoil:
    """Tell an alarm otherwise."""
    return lambda check: check.books.alarms.__setitem__(name, list(values))


def across(begin: float, end: float, delta: int, key: tuple = NIGHT) -> Spoil:
    """Book parts of an order in a count that cannot tell the order."""
    one = Spanned(begin, end, "total", delta, "Production", ("order",))
    return both(move(key, (None, "Production", key[2], "total"), delta), lambda check: check.books.spanned.append(one))


def sample(number: int, *values: object) -> Spoil:
    """Tell a sample otherwise, or not at all."""
    return lambda check: check.books.samples.__setitem__(slice(number, number + 1), [values] if values else [])


def unacknowledged(check: Reconciliation) -> None:
    """Take the last sample away, and its acknowledgement out of the PLC's ledger."""
    check.ledgers += [{"t": one.t, "what": "sample.acknowledged", "value": {"k": one.k}} for one in check.truth.samples[:-1]]
    check.books.samples.pop()


def late_back(check: Reconciliation) -> None:
    """Come back from the cut one second later than an agent may."""
    end = 481 + RETURN * SPEED + 1
    gap(CUT, CUT[0], end)(check)
    check.books.agent[0] = (end, "device.connected", {"device": "plc1"})


SPOILED: dict[str, tuple[Spoil, str]] = {
    # parts: a sum cannot tell where one was lost, so that none may be, beside a gap or inside one
    "a part lost": (move(NIGHT, None), TOTALS),
    "a part lost, of the last order": (move((LAST, "Production", "M", "total"), None), LATER_TOTALS),
    "a part lost, by its register": (move(NIGHT, None), "counter total: counted"),
    "a part twice": (move(NIGHT, None, -1), TOTALS),
    "a reject lost": (move((FIRST, "Production", "N", "scrap"), None), TOTALS),
    "a part in the wrong order": (move(MORNING, (LAST, "Production", "M", "total")), TOTALS),
    "a part in the wrong order, where it is too many": (move(MORNING, (LAST, "Production", "M", "total")), LATER_TOTALS),
    "a part in the wrong shift": (move(NIGHT, MORNING), "shift N total/scrap/good"),
    "a part in the wrong shift, where it is too many": (move(NIGHT, MORNING), "shift M total/scrap/good"),
    "a part in no order": (move(NIGHT, (None, "Production", "N", "total")), TOTALS),
    "a part in another mode": (
        move((None, "Maintenance", "M", "total"), (None, "Manual", "M", "total")),
        "counts on no order in other modes",
    ),
    "a part in no mode": (move(NIGHT, (None, None, "N", "total"), -1), TOTALS),
    "doubt about parts outside every gap": (across(100, 110, 3), "counts booked to several contexts"),
    "doubt that reaches beyond its gap": (across(CUT[0] - 0.51, CUT[1], 3), "counts booked to several contexts"),
    "doubt about more than was made": (across(*CUT, 69), "counts booked to several contexts"),
    "doubt where the order is the same on both sides": (across(*CUT, 3), "counts booked to several contexts"),
    "a rollover not told": (lambda check: check.books.steps.pop(0), "counter total: rollover"),
    "a rollover told late": (
        lambda check: check.books.steps.__setitem__(0, (check.books.steps[0][0] + 0.3, check.books.steps[0][1])),
        "counter total: rollover",
    ),
    "counts of a declared loss, told by nobody": (
        lambda check: check.books.counts.update({NIGHT: check.books.counts[NIGHT] - 1}),
        TOTALS,
    ),
    # stops and states
    "a stop with a wrong reason": (stop("d524", reason=2102), "downtime 2 at 524 s"),
    "a stop without its reason": (stop("d524", reason=None), "downtime 2 at 524 s"),
    "a stop with a wrong category": (stop("d524", category="held"), "downtime 2 at 524 s"),
    "a stop of the wrong order": (stop("d524", order=LAST), "downtime 2 at 524 s"),
    "a stop that ends early": (stop("d524", end=657.7, duration=133.7), "downtime 2 at 524 s"),
    "a stop with a wrong duration": (stop("d524", duration=133.7), "downtime 2 at 524 s"),
    "a stop that ends twice": (stop("d524", ended_events=2), "downtime 2 at 524 s"),
    "a long stop that is told short": (stop("d343", micro=True), "downtime 1 at 343 s"),
    "a stop told late": (stop("d343", start=343.3, duration=60.7), "downtime 1 at 343 s"),
    "a stop not told": (lambda check: check.books.stops.pop("d860"), "downtime 3 at 860 s"),
    "a stop that never was, in a gap": (
        lambda check: check.books.stops.update(x=replace(check.books.stops["d860"], start=460.0, end=464.0)),
        "downtimes that did not happen",
    ),
    "a state lost": (without_states(344.0, 403.0), "state changes"),
    "a state lost, another invented": (change(344.0, to=11), "state changes told otherwise"),
    "a state told late": (change(344.0, at=344.3), "state changes told otherwise"),
    "a loss of the PLC that is no state": (without_states(CUT[0], CUT[1]), "state changes"),
    "a mode told late": (
        lambda check: check.books.modes.__setitem__(0, (980.3, *check.books.modes[0][1:])),
        "mode changes told otherwise",
    ),
    "running not counted through a cut": (lambda check: [one[3].clear() for one in check.books.states], "WO-1001 A, E, Q, OEE"),
    "one good part less in the figures": (move(NIGHT, None), "WO-1001 A, E, Q, OEE"),
    "a stop that never began": (stop("d524", began=False), "downtime 2 at 524 s"),
    "an open stop that never began": (stop("d1103", began=False), "downtime 4 at 1103 s"),
    "an alarm that a snapshot alone tells": (
        lambda check: check.books.named.remove(("alarm.raised", "2101")),
        "alarms that a snapshot alone tells",
    ),
    "a wrap of the energy register not told": (
        lambda check: check.books.steps.__setitem__(
            slice(None), [one for one in check.books.steps if one[1]["counter"] != "meter-main"]
        ),
        "wraps of the energy register",
    ),
    # alarms, samples, times, energy
    "an alarm lost": (lambda check: check.books.alarms.pop("2101"), "alarm 2101"),
    "an alarm told late": (alarm("2101", "2101", 523.95, 640.0), "alarm 2101"),
    "an alarm cleared late": (alarm("2101", "2101", 523.8, 640.15), "alarm 2101"),
    "a polled alarm told late": (
        alarm("heater_high", "heater_high", 500 + POLL + MACHINE * SPEED + 0.1, 515.0),
        "alarm heater_high",
    ),
    "an alarm that never was, in a gap": (alarm("9", "9", 460.0, 461.0), "alarms in all"),
    "a sample lost": (sample(3), "samples"),
    "a sample lost in a cut": (sample(7), "samples"),
    "a sample with another value": (sample(3, 240.0, "CW-00004", 1.0, "nok"), "samples with another value"),
    "a sample with another verdict": (sample(3, 240.0, "CW-00004", 504.0, "ok"), "NOK samples at"),
    "the last sample never taken, long after the last fault": (unacknowledged, "samples"),
    "an order that begins late": (lambda check: check.books.orders.update({FIRST: [35.15, 960.0]}), "order WO-1001 started"),
    "an order that ends late": (lambda check: check.books.orders.update({FIRST: [35.0, 960.15]}), "order WO-1001 completed"),
    "an order not told": (lambda check: check.books.orders.pop(LAST), "order WO-1002 started"),
    "a shift that changes late": (
        lambda check: check.books.shifts.__setitem__(0, (600.002, check.books.shifts[0][1])),
        "shift N to M",
    ),
    "a unit of energy lost": (
        lambda check: check.books.energy.update({None: check.books.energy[None] - 1}),
        "energy in all (10 Wh)",
    ),
    "energy in the wrong order": (
        lambda check: check.books.energy.update({FIRST: check.books.energy[FIRST] - 3, LAST: check.books.energy[LAST] + 3}),
        "energy of WO-1001 (10 Wh)",
    ),
    # gaps: not declared, too wide, too narrow, of the wrong kind
    "a cut not declared": (gap(CUT, None), COVERED),
    "a kill not declared": (gap(KILLED, None), COVERED),
    "bad samples not declared": (gap(BAD, None), COVERED),
    "a power-off not declared": (gap(POWER_OFF, None), COVERED),
    "a cut half declared": (gap(CUT, CUT[0], 465.0), COVERED),
    "a cut declared from its middle": (gap(CUT, 465.0), COVERED),
    "a cut declared a second too late": (gap(CUT, 450 + SAMPLING + MACHINE * SPEED + 0.1), COVERED),
    "bad samples half declared": (gap(BAD, 902.0), COVERED),
    "a cut declared ten times as wide": (gap(CUT, 300.0, 640.0), EXPLAINED),
    "a kill declared ten times as wide": (gap(KILLED, 400.0, 776.0), EXPLAINED),
    "bad samples declared ten times as wide": (gap(BAD, 875.0, 925.0), EXPLAINED),
    "a power-off declared ten times as wide": (gap(POWER_OFF, 875.0, 1110.0), EXPLAINED),
    "a cut declared before what was told of the PLC": (gap(CUT, 449.7), EXPLAINED),
    "a cut declared before what can be under way": (
        both(lambda check: check.books.told.clear(), gap(CUT, 450 - 2 * POLL - TRANSIT * SPEED - 0.1)),
        EXPLAINED,
    ),
    "a kill declared before what may be under way at its last record": (gap(KILLED, 196.1 + 500), EXPLAINED),
    "a cut declared after the return": (gap(CUT, CUT[0], CUT[1] + 2 * POLL + 0.1), EXPLAINED),
    "a kill declared far behind the return": (gap(KILLED, KILLED[0], KILLED[1] + 2 * POLL + FIRST_READ * SPEED + 0.1), EXPLAINED),
    "a return that takes too long": (late_back, EXPLAINED),
    "bad samples declared for all tags": (gap(BAD, BAD[0], tags=["plc1.*"]), EXPLAINED),
    "a cut declared as the agent's absence": (gap(CUT, CUT[0], reason="agent_down", device=None, tags=["*"]), EXPLAINED),
    "a cut declared for a device that was there": (gap(CUT, CUT[0], device="heater", tags=["heater.*"]), EXPLAINED),
    "a gap where nothing was": (lambda check: declare(check, 200.0, 210.0, "comm_loss", "plc1", "plc1.*"), EXPLAINED),
}


def test_books_that_are_the_truth_pass() -> None:
    """Every row of the line with its faults agrees, each gap declared as wide as it was."""
    assert refused(line()) == set()


@pytest.mark.parametrize("what", SPOILED)
def test_one_thing_wrong_is_refused(what: str) -> None:
    """The row that is about it differs."""
    check = line()
    spoil, row = SPOILED[what]
    spoil(check)
    assert row in refused(check)


def with_alarm(raised: float, cleared: float, source: str = "plc") -> Reconciliation:
    """Return the line with one more alarm, that nobody tells."""
    check = line()
    check.truth = replace(check.truth, alarms=(*check.truth.alarms, AlarmTruth(source, "77", raised, cleared)))
    return check


def with_stop(start: float, end: float, category: str = "held") -> Reconciliation:
    """Return the line with one more stop, that nobody tells."""
    check = line()
    lasted = end - start
    one = Downtime(start, end, lasted, category, None, lasted < 10, FIRST)
    check.truth = replace(check.truth, downtimes=tuple(sorted((*check.truth.downtimes, one), key=lambda each: each.start)))
    return check


STEP = SAMPLING + 0.05
"""One step beyond what a sampling excuses."""


@pytest.mark.parametrize(
    ("begin", "end", "excused"),
    [
        (CUT[0], CUT[1], True),
        (CUT[0] - STEP, CUT[1] - 1, False),
        (CUT[0] + 1, CUT[1] + STEP, False),
        (KILLED[0], KILLED[1], True),
        (KILLED[0] - STEP, KILLED[1], False),
        (BAD[0], BAD[1], False),
        (200.0, 201.0, False),
    ],
)
def test_only_what_lies_wholly_in_a_declared_absence_may_be_unknown(begin: float, end: float, excused: bool) -> None:
    """An alarm or a stop that reaches a step beyond it has to be told; bad samples of one tag hide neither."""
    assert ("alarm 77" in refused(with_alarm(begin, end))) is not excused
    row = next(row for row in with_stop(begin, end).rows() if row.what.endswith(f"at {begin:g} s"))
    assert row.ok is excused


@pytest.mark.parametrize(("begin", "end", "excused"), [(*CUT, False), (*KILLED, True)])
def test_a_lost_plc_hides_nothing_of_another_device(begin: float, end: float, excused: bool) -> None:
    """The heater was there while the PLC's link was cut; a killed agent sees neither."""
    assert ("alarm heater_77" in refused(with_alarm(begin, end, "heater"))) is not excused


@pytest.mark.parametrize("window", [CUT, KILLED, POWER_OFF])
def test_what_is_excused_is_excused_by_the_declaration_alone(window: tuple[float, float]) -> None:
    """The fault was injected, but nobody declared it: an alarm inside it has to be told."""
    check = with_alarm(window[0] + 2, window[1] - 2)
    assert "alarm 77" not in refused(check)
    gap(window, None)(check)
    assert {"alarm 77", COVERED} <= refused(check)


@pytest.mark.parametrize(
    ("told", "fine"),
    [
        (CUT[0], True),
        (CUT[1], True),
        (CUT[1] + POLL + MACHINE * SPEED, True),
        (CUT[1] + POLL + MACHINE * SPEED + 0.1, False),
        (CUT[0] - STEP, False),
    ],
)
def test_what_happened_in_a_gap_is_told_in_it_or_at_the_first_look_after_it(told: float, fine: bool) -> None:
    """Not before it, and not a step later than the first poll behind it."""
    assert line().close(460.0, told, SAMPLING) is fine


@pytest.mark.parametrize(("told", "fine"), [(200.1, True), (200.11, False), (199.89, False)])
def test_a_time_outside_every_gap_is_known_to_a_sampling(told: float, fine: bool) -> None:
    """Faults elsewhere widen nothing."""
    assert line().close(200.0, told, SAMPLING + 1e-9) is fine


@pytest.mark.parametrize(("begin", "end", "excused"), [(1070, 1100, True), (1070, 1090, False), (1085, 1100, False)])
def test_samples_wait_in_the_plc_only_where_there_was_no_time_to_take_them(begin: int, end: int, excused: bool) -> None:
    """The sample of 1080 s, when the line ends at 1110 s: not taken after a cut that ended in time, nor when it was made before the cut."""
    check = line()
    faults = check.scenario.faults.model_copy(update={"link_cuts": ((begin * SECOND, end * SECOND),)})
    check.scenario = check.blindness.scenario = check.scenario.model_copy(update={"faults": faults})
    unacknowledged(check)
    assert ("samples" not in refused(check)) is excused


ONE = [
    ("order.started", {"order": FIRST}),
    ("order.completed", {"order": FIRST}),
    ("alarm.cleared", {"instance_id": "2101", "alarm_id": 2101}),
    ("shift.changed", {"shift_id": "M"}),
    ("collection.gap", {"reason": "comm_loss", "device": "plc1", "interval": [None, "2026-10-25T04:50:02Z"], "tags": []}),
    ("downtime.started", {"downtime_id": "d", "ctx": {}}),
]


@pytest.mark.parametrize(("name", "data"), ONE, ids=[name for name, _ in ONE])
def test_what_happens_once_is_told_under_one_number(name: str, data: dict) -> None:
    """The same thing with a second number and id is no duplicate that a consumer drops: it stands in the books twice."""
    check = line()
    for number in (1, 2):
        assert ("things told twice under two numbers" in refused(check)) is False
        time = "2026-10-25T04:50:02Z"
        event = {"id": str(number), "type": f"edgeagent.{name}.v1", "time": time, "recordedtime": time, "data": data}
        check.books.apply(event)
    assert "things told twice under two numbers" in refused(check)


@pytest.mark.parametrize(("begin", "end", "fine"), [(0.0, 0.0, True), (0.0, 0.2, False), (3.0, 3.0, False)])
def test_a_connection_that_was_lost_before_the_plant_began_needs_no_fault(begin: float, end: float, fine: bool) -> None:
    """The plant's clock stands until everybody is there, so nothing was made; a moment later the gap wants a cause."""
    check = line()
    declare(check, begin, end, "comm_loss", "plc1", "*")
    assert (refused(check) == set()) is fine
