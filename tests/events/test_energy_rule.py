"""The energy rule: intervals cut by the clock grid and the order, from the register alone."""

import pytest
from pydantic import ValidationError
from registerbench import DAY, ORDER_1, TAGS, Bench, at, told

from edge_agent.events.energy import EnergyConfig, build
from edge_agent.events.rule import CounterFacts, Picture
from edge_agent.model.reading import Quality

REF = "meter.energy"
ZERO = 60 - DAY % 60  # the first instant of the tests that lies on the clock grid


def meter(*, context=True, **config):
    """Return a rule for the meter with one thing changed."""
    given = {"tag": REF, "meter": "meter-main", "carrier": "el", "wraps": "digits:8", "max_rate": "5/s", **config}
    context_tags = {"order": "plc1.order"} if context else None
    (rule,) = build(EnergyConfig(**given), unit="filler", name="el", tags=TAGS, context_tags=context_tags)
    return rule


def see(bench, seconds, raw, **more):
    """Fold a sample of the register (0.01 kWh a unit), ``seconds`` after an instant of the grid."""
    return bench.see(ZERO + seconds, raw * 0.01, REF, **more)


def intervals(events):
    """Return closed intervals in short: from, to (seconds on the grid), register units, order."""
    return [
        ((event.interval[0] - at(ZERO)) / 1e9, (event.interval[1] - at(ZERO)) / 1e9, event.data["raw_delta"], event.ctx.order)
        for event in events
        if event.type == "energy.consumed"
    ]


def test_interval_closes_at_the_grid_with_the_sample_of_the_grid():
    """The first sample at or after the grid closes the interval and belongs to it."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    assert told(see(bench, 10, 1000)) == [("baseline", 0, 0)]
    assert see(bench, 55, 1010) == []
    (event,) = see(bench, 60.01, 1020)
    assert intervals([event]) == [(10, 60.01, 20, "WO-1")]
    event.data.pop("interval")
    assert event.data == {
        "meter": "meter-main",
        "carrier": "el",
        "delta": 0.2,
        "total": 0.2,
        "uom": "KWH",
        "avg_power_w": 14397.121,
        "raw": "1020",
        "raw_delta": 20,
        "spans": [],
    }
    assert (event.time, event.derivation, event.quality, event.correlation) == (at(ZERO + 60.01), "observed", Quality.GOOD, "WO-1")
    assert bench.picture.counters["meter-main"] == CounterFacts("energy", 20, 1020, 10**8, None, 0.01, "KWH")


def test_grid_closes_by_the_clock_when_no_sample_comes():
    """A meter that tells only changes and stands: a tick closes the interval at the grid, with nothing consumed."""
    bench = Bench(meter())
    see(bench, 0, 1000)
    assert bench.tick(ZERO + 61) == []
    assert intervals(bench.tick(ZERO + 62)) == [(0, 60, 0, None)]
    assert bench.tick(ZERO + 63) == []


def test_wrap_of_the_meter_is_counted_and_told():
    """The meter's wrap at 10^8 is a rollover of a few units, in the audit trail and in the interval."""
    bench = Bench(meter())
    see(bench, 0, 99_999_999)
    assert told(see(bench, 30, 3)) == [("rollover", 4, 0)]
    assert intervals(see(bench, 60, 5)) == [(0, 60, 6, None)]


def test_order_change_in_its_own_moment_closes_with_what_is_known():
    """The order tag changes on another device: what is known of the energy belongs to the old order, what lies across to none."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    see(bench, 20, 1010)
    assert intervals(bench.see(ZERO + 20.3, "WO-2", "plc1.order", source=ZERO + 20.2)) == [(0, 20, 10, "WO-1")]
    bench.context(order="WO-2")
    (across,) = see(bench, 30, 1016)
    assert (intervals([across]), across.data["spans"]) == ([(20, 30, 6, None)], ["order"])
    assert across.data["candidates"] == {"order": ["WO-1", "WO-2"]}
    assert intervals(see(bench, 60, 1030)) == [(30, 60, 14, "WO-2")]


def test_orders_that_came_and_went_between_two_samples_are_all_candidates():
    """Two changes without a sample: nobody knows which of the three took it."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    for t, order in ((20, "WO-2"), (25, "WO-3")):
        bench.see(ZERO + t, order, "plc1.order")
        bench.context(order=order)
    (across,) = see(bench, 30, 1016)
    assert (across.ctx.order, across.data["candidates"]) == (None, {"order": ["WO-1", "WO-2", "WO-3"]})
    assert intervals(see(bench, 60, 1020)) == [(30, 60, 4, "WO-3")]


def test_a_register_that_stood_across_a_change_leaves_nothing_open():
    """No energy, nobody asks whose."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    see(bench, 20, 1010)
    bench.see(ZERO + 20.3, "WO-2", "plc1.order")
    bench.context(order="WO-2")
    assert see(bench, 30, 1010) == []
    assert intervals(see(bench, 60, 1030)) == [(20, 60, 20, "WO-2")]


def test_a_sample_that_was_asked_for_since_the_change_settles_it():
    """The meter is read before the change goes on to the unit: everything up to there is the old order's."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    see(bench, 20.9, 1010)
    assert intervals(bench.see(ZERO + 21, "WO-2", "plc1.order", source=ZERO + 20.2)) == [(0, 21, 10, "WO-1")]
    bench.context(order="WO-2")
    assert intervals(see(bench, 60, 1030)) == [(21, 60, 20, "WO-2")]


def test_order_change_and_register_in_one_moment():
    """Read together, the register's sample belongs to the order that ends there."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    assert intervals(see(bench, 20, 1010, others={"plc1.order": ""})) == [(0, 20, 10, "WO-1")]
    bench.context(order=None)
    assert intervals(see(bench, 60, 1011)) == [(20, 60, 1, None)]


def test_order_change_is_seen_without_its_tag():
    """Where the order does not come from a tag, the next moment shows it in the context."""
    bench = Bench(meter(context=False), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    see(bench, 20, 1010)
    bench.context(order="WO-2")
    assert intervals(bench.tick(ZERO + 21)) == [(0, 21, 10, "WO-1")]


def test_order_change_is_left_alone_on_request():
    """close_on.order: false keeps the grid alone."""
    bench = Bench(meter(close_on={"order": False}), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    bench.context(order="WO-2")
    assert see(bench, 20, 1010) == []
    assert intervals(see(bench, 60, 1020)) == [(0, 60, 20, "WO-1")]


def test_lot_that_comes_a_moment_later_is_the_intervals_lot():
    """An interval opened with the order takes over product and lot that were not known yet."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    bench.context(lot="L-A")
    (event,) = see(bench, 60, 1010)
    assert event.ctx.lot == "L-A"


def test_shift_boundary_closes_into_the_shift_that_ends():
    """The poll at the boundary still belongs to the old shift, also where the grid has another beat."""
    bench = Bench(meter(every="7min"), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    bench.context(shift="M")
    (event,) = see(bench, 100.01, 1030)
    assert (event.ctx.shift, event.data["raw_delta"]) == ("N", 30)


def test_final_tick_closes_the_interval():
    """Before a stop the interval is closed, and the next start goes on from there."""
    bench = Bench(meter())
    see(bench, 0, 1000)
    see(bench, 20, 1010)
    assert intervals(bench.tick(ZERO + 25, final=True)) == [(0, 25, 10, None)]
    bench.restart(ZERO + 25, ZERO + 45)
    assert see(bench, 45, 1020) == []
    (event,) = see(bench, 60, 1025)
    assert (intervals([event]), event.derivation) == ([(25, 60, 15, None)], "recovered")


def test_nothing_is_closed_while_the_meter_is_away():
    """A lost meter's interval waits for its return, then is one longer recovered interval with the average over all of it."""
    bench = Bench(meter())
    see(bench, 0, 1000)
    see(bench, 30, 1010)
    bench.down(ZERO + 40, last_good=ZERO + 30, device="meter")
    assert bench.tick(ZERO + 130) == []
    assert bench.tick(ZERO + 131, final=True) == []
    bench.up(ZERO + 180, device="meter")
    (event,) = see(bench, 180, 1100)
    assert (intervals([event]), event.derivation, event.data["avg_power_w"]) == ([(0, 180, 100, None)], "recovered", 20_000.0)


def test_nothing_is_closed_by_the_clock_while_the_register_is_not_known():
    """After the agent's own absence, or while the register is bad, ticks close nothing: what is missing belongs to the interval."""
    bench = Bench(meter())
    see(bench, 0, 1000)
    bench.restart(ZERO + 30, ZERO + 50)
    assert bench.tick(ZERO + 62) == []
    assert intervals(see(bench, 63, 1040)) == [(0, 63, 40, None)]
    bench.bad(ZERO + 64, REF)
    assert bench.tick(ZERO + 122) == []
    assert intervals(see(bench, 123, 1070)) == [(63, 123, 30, None)]


@pytest.mark.parametrize("together", [False, True])
def test_order_change_while_the_meter_was_away_leaves_the_rest_unassigned(together):
    """What was known before the loss goes to the old order, what is recovered behind it to none, with the candidates."""
    bench = Bench(meter(), picture=Picture(context=ORDER_1))
    see(bench, 0, 1000)
    see(bench, 30, 1010)
    bench.down(ZERO + 32, last_good=ZERO + 30, device="meter")
    bench.up(ZERO + 50, device="meter")
    if together:
        events = see(bench, 50, 1030, others={"plc1.order": "WO-2"})
    else:
        events = bench.see(ZERO + 45, "WO-2", "plc1.order")
        bench.context(order="WO-2")
        events += see(bench, 50, 1030)
    assert intervals(events) == [(0, 30, 10, "WO-1"), (30, 50, 20, None)]
    assert (events[1].data["spans"], events[1].data["candidates"]) == (["order"], {"order": ["WO-1", "WO-2"]})
    bench.context(order="WO-2")
    assert intervals(see(bench, 60, 1035)) == [(50, 60, 5, "WO-2")]


def test_uncertain_samples_make_an_uncertain_interval():
    """One uncertain sample that counted marks its interval, and only that."""
    bench = Bench(meter())
    see(bench, 0, 1000)
    see(bench, 30, 1010, quality=Quality.UNCERTAIN)
    assert see(bench, 60, 1020)[0].quality is Quality.UNCERTAIN
    assert see(bench, 120, 1030)[0].quality is Quality.GOOD


@pytest.mark.parametrize(("uom", "power"), [("KWH", 12_000.0), ("WHR", 12.0), ("MTQ", None)])
def test_average_power_by_unit(uom, power):
    """Energy has an average power; a volume has none."""
    bench = Bench(meter(uom=uom))
    see(bench, 0, 1000)
    (event,) = see(bench, 60, 1020)
    assert event.data["avg_power_w"] == power


def test_defaults_come_from_the_tag():
    """Unit of measure and meter are the tag's where nothing is said."""
    (rule,) = build(EnergyConfig(tag=REF, wraps="uint32", max_rate="5/s"), unit="filler", name="energy.el", tags=TAGS)
    assert (rule.name, rule.meter.label, rule.meter.uom, rule.tags) == ("energy.el", "meter", "KWH", (REF,))


@pytest.mark.parametrize(
    ("config", "words"), [({"tag": "plc1.ratio"}, "float32"), ({"power": "meter.pwoer"}, "did you mean 'meter.power'")]
)
def test_build_refuses_what_cannot_work(config, words):
    """Float registers and unknown tags are refused at the door."""
    with pytest.raises(ValueError, match=words):
        meter(**config)


@pytest.mark.parametrize("lacking", ["wraps", "max_rate"])
def test_config_without_modulus_or_rate_is_refused(lacking):
    """A meter wraps too, and its rate is asked for."""
    given = {"tag": REF, "wraps": "digits:8", "max_rate": "5/s"}
    del given[lacking]
    with pytest.raises(ValidationError, match=f"{lacking} is missing"):
        EnergyConfig(**given)
