"""The counter rule beyond the matrix: evidence of resets, outliers, standing values, contexts, and what a configuration may not say."""

import pytest
from pydantic import ValidationError
from registerbench import ORDER_1, TAGS, Bench, S, at, counter, told

from edge_agent.events.counter import CounterConfig, build
from edge_agent.events.rule import CounterFacts, Picture
from edge_agent.model.reading import Gap, Quality


def make(**config):
    """Build a counter with one thing changed."""
    given = {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s", **config}
    return build(CounterConfig(**given), unit="filler", name="total", tags=TAGS)


@pytest.mark.parametrize("lacking", ["role", "wraps", "max_rate"])
def test_config_without_its_meaning_is_refused_with_a_remedy(lacking):
    """Role, modulus and rate cannot be guessed: each is asked for by name, with what to write."""
    given = {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s"}
    del given[lacking]
    with pytest.raises(ValidationError, match=f"{lacking} is missing; say"):
        CounterConfig(**given)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"tag": "plc1.ratio"}, r"counters\.total\.tag: plc1\.ratio is float32, which loses whole numbers"),
        ({"tag": "plc1.text"}, "is string and no number"),
        ({"tag": "plc1.cuont"}, r"did you mean 'plc1\.count'"),
        ({"reset_evidence": "plc1.nothing"}, r"counters\.total\.reset_evidence"),
        ({"tag": "plc1.small", "wraps": "uint16"}, "int16 and never reaches 65,535"),
        ({"tag": "plc1.reject", "wraps": "dint"}, "dint is for int32"),
    ],
)
def test_build_refuses_registers_that_cannot_count(config, words):
    """A register that cannot count exactly, or not the way it is said to wrap, is refused when the file is loaded."""
    with pytest.raises(ValueError, match=words):
        make(**config)


@pytest.mark.parametrize(
    ("key", "value"), [("wraps", "uint17"), ("wraps", "digits:0"), ("max_rate", "0/s"), ("role", "parts"), ("burts", 3)]
)
def test_config_refuses_what_it_does_not_know(key, value):
    """Unknown words are refused, never taken for a default."""
    with pytest.raises(ValidationError):
        CounterConfig(**{"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s", key: value})


def test_count_carries_everything_a_consumer_needs():
    """A count says what, how many, the running total, the raw register, when, in which context, and how it is known."""
    bench = Bench(counter(), picture=Picture(context=ORDER_1))
    bench.see(0, 100)
    (event,) = bench.see(1, 102, quality=Quality.UNCERTAIN)
    assert (event.time, event.interval, event.ctx, event.correlation) == (at(1), (at(0), at(1)), ORDER_1, "WO-1")
    assert (event.quality, event.derivation) == (Quality.UNCERTAIN, "observed")
    interval = event.data.pop("interval")
    assert interval == ["2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:21.000000Z"]
    assert event.data == {
        "counter": "total",
        "disposition": "total",
        "delta": 2,
        "total": 2,
        "raw": "102",
        "uom": "H87",
        "reason": None,
        "spans": [],
    }
    assert bench.picture.counters == {"total": CounterFacts("total", 2, 102, 1 << 31)}


def test_missed_polls_are_one_count():
    """Six parts between two samples are one event with delta 6, not one part and not six events."""
    bench = Bench(counter())
    bench.see(0, 100)
    assert told(bench.see(3, 106)) == [(6, "observed")]


def test_total_never_wraps():
    """The agent's total goes on over every wrap of the register."""
    bench = Bench(counter(wraps="uint16"))
    value = 65_000
    bench.see(0, value)
    for second in range(1, 701):
        value = (value + 2) % 65_536
        bench.see(second, value)
    assert bench.of("production.count")[-1].data["total"] == 1400


def test_correction_is_negative_and_told():
    """A register pulled back within its tolerance takes parts back from the total."""
    bench = Bench(counter(back_tol=3))
    bench.see(0, 100)
    bench.see(1, 103)
    events = bench.see(2, 101)
    assert told(events) == [("correction", -2, 0), (-2, "observed")]
    assert events[1].data["total"] == 1


def test_scaled_register_counts_in_its_unit_and_keeps_raw_integers():
    """A scaled register is counted in raw units and told in its own unit, exactly."""
    bench = Bench(counter(tag="plc1.weight", wraps="uint32", max_rate="100/s", uom="KGM"))
    bench.see(0, 0.7, "plc1.weight")
    (event,) = bench.see(1, 1.0, "plc1.weight")
    assert (event.data["delta"], event.data["raw"], event.data["uom"]) == (0.3, "10", "KGM")
    assert bench.picture.counters["total"].total == 3


def test_bad_sample_with_a_value_is_no_sample():
    """A bad sample may carry its raw value: it is not believed."""
    bench = Bench(counter())
    bench.see(0, 100)
    assert bench.see(1, 0, quality=Quality.BAD) == []
    assert told(bench.see(2, 104)) == [(4, "recovered")]


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), True, "17", 10.5, (1,)])
def test_what_is_no_whole_number_is_no_sample(garbage):
    """A value that is no whole number never moves the baseline, whatever quality it claims."""
    bench = Bench(counter())
    bench.see(0, 100)
    assert bench.see(1, garbage) == []
    assert bench.picture.counters["total"].good is False
    assert told(bench.see(2, 104)) == [(4, "recovered")]


def test_what_the_register_cannot_hold_is_told_once():
    """A number outside the register's range is told once, and loses nothing."""
    bench = Bench(counter(wraps="uint16"))
    bench.see(0, 100)
    assert told(bench.see(1, 70_000)) == [("implausible", 0, 0)]
    assert told(bench.see(2, 70_000)) == []
    assert told(bench.see(3, 104)) == [(4, "recovered")]


def test_outlier_loses_nothing():
    """One wild sample between good ones is told and leaves the count right."""
    bench = Bench(counter())
    bench.see(0, 8211)
    assert bench.see(1, 900_000) == []
    assert told(bench.see(2, 8213)) == [("implausible", 0, 0), (2, "observed")]


def test_outlier_far_below_is_no_reset_to_a_high_value():
    """A register that seems to fall to a value it cannot have reached from zero is not counted as if it had."""
    bench = Bench(counter())
    bench.see(0, 60_000)
    assert bench.see(1, 30_000) == []
    assert told(bench.see(2, 60_002)) == [("implausible", 0, 0), (2, "observed")]


def test_preset_is_told_and_not_counted():
    """Somebody wrote a number into the register: confirmed by the next sample, told, not counted."""
    bench = Bench(counter())
    bench.see(0, 60_000)
    bench.see(1, 30_000)
    assert told(bench.see(2, 30_002)) == [("preset", 0, 5), (2, "observed")]


def test_retained_value_restored_at_restart_is_not_counted_from_zero():
    """A PLC that comes back with an older retained value did not make all those parts again."""
    bench = Bench(counter(on_restart="unknown"))
    bench.boot(0, 7)
    bench.see(0, 8211)
    bench.boot(20, 8)
    bench.see(20, 8000)
    bench.see(21, 8002)
    assert bench.counted == 2


def test_reset_evidence_finds_a_reset_that_counted_past_the_old_value():
    """Zeroed during a loss and counted past the old value: only the evidence tag shows it."""
    bench = Bench(counter(reset_evidence="plc1.acc_time", on_restart="zeroes"))
    bench.see(0, 20, others={"plc1.acc_time": 500})
    bench.down(10, last_good=0)
    bench.up(100)
    assert told(bench.see(100, 100, others={"plc1.acc_time": 60})) == [("reset", 100, 300), (100, "recovered")]


def test_reset_evidence_rules_out_a_rollover():
    """Near the modulus a reset looks like a rollover, unless the evidence tag says that it was zeroed."""
    bench = Bench(counter(wraps="uint16", reset_evidence="plc1.acc_time"))
    bench.see(0, 65_530, others={"plc1.acc_time": 500})
    assert told(bench.see(10, 2, others={"plc1.acc_time": 1})) == [("reset", 2, 30), (2, "observed")]


def test_evidence_sampled_after_the_reset_counts_nothing_twice():
    """The evidence tag may be sampled a moment after the counter: the reset is already known, the parts since are counted once."""
    bench = Bench(counter(reset_evidence="plc1.acc_time", on_restart="zeroes"))
    bench.see(0, 784, others={"plc1.acc_time": 900})
    bench.see(1, 0)
    bench.see(1.5, 1)
    bench.step(1.6, readings={})
    bench.see(1.7, 1, others={"plc1.acc_time": 0})
    bench.see(2, 2)
    assert bench.counted == 2


def test_zeroed_that_contradicts_the_rate_counts_the_difference():
    """Evidence of a reset beside a value that cannot have grown from zero: only the difference is counted, the rest is bounded."""
    bench = Bench(counter(reset_evidence="plc1.acc_time", on_restart="zeroes"))
    bench.see(0, 2_147_000_000, others={"plc1.acc_time": 900})
    assert told(bench.see(1, 2_147_000_002, others={"plc1.acc_time": 3})) == [("reset", 2, 2_147_000_000), (2, "observed")]


def test_rising_evidence_costs_no_commit_every_second():
    """An evidence tag that counts seconds, beside a counter that stands, is stored once in ten seconds."""
    bench = Bench(counter(reset_evidence="plc1.acc_time"))
    bench.see(0, 784, others={"plc1.acc_time": 0})
    before = bench.commits
    for second in range(1, 101):
        bench.step(second, readings={})
        bench.see(second, 784, others={"plc1.acc_time": second})
    assert bench.commits - before <= 20


def test_standing_value_is_no_event_and_rarely_a_commit():
    """Equal samples tell nothing; the time they prove is stored in steps of ten seconds."""
    bench = Bench(counter())
    bench.see(0, 100)
    before = bench.commits
    for tenth in range(1, 1001):
        assert bench.see(tenth / 10, 100) == []
    assert bench.commits - before <= 10


def test_reset_after_a_night_of_standstill_is_no_rollover():
    """A subscribed counter that stood all night near its modulus and is zeroed in the morning was not counted on to the modulus."""
    bench = Bench(counter(wraps="uint16", max_rate="1/s"))
    bench.see(0, 65_500)
    for second in range(1, 28_801):
        bench.tick(second)
    assert told(bench.see(28_801, 0)) == [("reset", 0, 36)]


def test_silence_of_a_dead_device_proves_nothing():
    """Ticks before a loss was noticed are taken back: a wrap in the whole loss is still a rollover."""
    bench = Bench(counter(wraps="uint16", max_rate="2.1/s", burst=0))
    bench.see(0, 65_500)
    for second in range(1, 41):
        bench.tick(second)
    bench.down(40, last_good=0)
    bench.up(60)
    assert told(bench.see(60, 40)) == [("rollover", 76, 0), (76, "recovered")]


def test_recovered_interval_begins_with_the_loss_and_not_with_the_last_part():
    """A counter that stood before a loss made its parts in the loss: the interval begins at the last good sample of its device."""
    bench = Bench(counter())
    bench.see(400, 100)
    bench.down(462, last_good=450)
    bench.up(481)
    (event,) = bench.see(481, 162)
    assert event.interval == (at(450), at(481))
    bench.restart(700, 720)
    (event,) = bench.see(720, 202)
    assert event.interval == (at(700), at(720))


def test_last_good_time_of_another_clock_bounds_nothing():
    """A PLC clock far ahead gives a last good sample that lies in the future: it is not used."""
    bench = Bench(counter())
    bench.see(400, 100)
    bench.down(462, last_good=4050)
    bench.up(481)
    (event,) = bench.see(481, 162)
    assert event.interval == (at(400), at(481))


def test_silence_is_never_held_against_a_rise():
    """Samples that were missed without anybody noticing lose no part: what the machine can have made since the last sample is counted."""
    bench = Bench(counter())
    bench.see(0, 100)
    for second in range(1, 61):
        bench.tick(second)
    assert told(bench.see(60, 280)) == [(180, "observed")]


def test_declared_gap_of_the_tag_makes_the_next_count_recovered():
    """Samples that the driver lost may hide anything: the difference is recovered; a gap of another tag concerns nobody here."""
    bench = Bench(counter())
    bench.see(0, 100)
    bench.tell(1, Gap("plc1", "queue_overflow", at(0), at(1), ("reject",)))
    assert told(bench.see(1, 101)) == [(1, "observed")]
    bench.tell(2, Gap("plc1", "queue_overflow", at(1), at(2), ("count",)))
    assert told(bench.see(2, 103)) == [(2, "recovered")]
    assert told(bench.see(3, 104)) == [(1, "observed")]


def test_small_register_that_may_have_turned_unseen_is_told():
    """After a weekend a 16-bit counter may have wrapped unseen: the difference is counted, the turns are bounded."""
    bench = Bench(counter(wraps="uint16", max_rate="1/s"))
    bench.see(0, 100)
    bench.restart(0, 200_000)
    assert told(bench.see(200_000, 150)) == [("rollover", 50, 3 * 65_536), (50, "recovered")]


def test_small_register_that_stood_over_a_weekend_has_not_turned():
    """A subscription that was never cut would have told a turn: the first part on Monday is one part, and no rollover."""
    bench = Bench(counter(wraps="uint16", max_rate="1/s"))
    bench.see(0, 100)
    for second in range(60, 200_000, 60):
        bench.tick(second)
    assert told(bench.see(200_000, 101)) == [(1, "observed")]


def test_small_register_that_stood_over_a_weekend_wraps_once():
    """The first parts on Monday carry it over its modulus, and no whole turns can be missing beside that."""
    bench = Bench(counter(wraps="uint16", max_rate="1/s"))
    bench.see(0, 65_530)
    for second in range(60, 200_000, 60):
        bench.tick(second)
    assert told(bench.see(200_000, 4)) == [("rollover", 10, 0), (10, "observed")]


def test_count_belongs_to_the_context_that_ends_in_its_moment():
    """Order tag and counter in one moment: the parts were made before, for the old order."""
    bench = Bench(counter(context_tags={"order": "plc1.order"}), picture=Picture(context=ORDER_1))
    bench.see(0, 100)
    (event,) = bench.see(1, 102, others={"plc1.order": "WO-2"})
    assert event.ctx.order == "WO-1"
    assert event.data["spans"] == []


def test_count_across_a_loss_and_an_order_change_belongs_to_neither():
    """Seen in the same moment or before it, an order that changed behind a loss leaves the count without an order, candidates named."""
    for early in (False, True):
        bench = Bench(counter(context_tags={"order": "plc1.order"}), picture=Picture(context=ORDER_1))
        bench.see(450, 100)
        bench.down(460, last_good=450)
        bench.up(481)
        if early:
            bench.context(order="WO-2")
        (event,) = bench.see(481, 162, others={"plc1.order": "WO-2"})
        assert (event.data["delta"], event.data["spans"], event.data["candidates"]) == (62, ["order"], {"order": ["WO-1", "WO-2"]})
        assert (event.ctx.order, event.correlation, event.ctx.mode) == (None, None, "Production")
        bench.context(order="WO-2")
        (event,) = bench.see(482, 164)
        assert (event.ctx.order, event.data["spans"]) == ("WO-2", [])


def test_order_that_changed_long_before_the_loss_is_no_candidate():
    """The context before a loss is the one at the loss, not the one of the last part."""
    bench = Bench(counter(context_tags={"order": "plc1.order"}), picture=Picture(context=ORDER_1))
    bench.see(0, 100)
    bench.context(order="WO-2")
    bench.down(500, last_good=499)
    bench.restart(500, 520)
    bench.up(520)
    (event,) = bench.see(520, 110, others={"plc1.order": "WO-2"})
    assert (event.ctx.order, event.data["spans"]) == ("WO-2", [])


def test_shift_that_changed_while_the_agent_was_away_is_a_candidate():
    """Shift boundaries are crossed by the clock before the absence is told: the count still knows in which shift it was last seen."""
    bench = Bench(counter(), picture=Picture(context=ORDER_1))
    bench.see(590, 100)
    bench.revive()
    bench.tick(620)
    bench.context(shift="M")
    bench.restart(590, 620)
    (event,) = bench.see(620, 140)
    assert (event.data["spans"], event.data["candidates"], event.ctx.shift) == (["shift"], {"shift": ["N", "M"]}, None)


def test_poll_at_the_shift_boundary_belongs_to_the_shift_that_ends():
    """A sample without a time of its own, first behind the boundary, counts what was made before it; the next one does not."""
    bench = Bench(counter(), picture=Picture(context=ORDER_1))
    bench.see(599.5, 100)
    bench.tick(600)
    bench.context(shift="M")
    (event,) = bench.see(600.005, 101)
    assert event.ctx.shift == "N"
    bench.tick(601)
    (event,) = bench.see(601, 102)
    assert event.ctx.shift == "M"


def test_idle_counter_takes_over_the_new_shift():
    """A counter that stood through the boundary does not book the first part of the morning to the night."""
    bench = Bench(counter(), picture=Picture(context=ORDER_1))
    bench.see(0, 100)
    bench.context(shift="M")
    bench.tick(601)
    (event,) = bench.see(4000, 101)
    assert event.ctx.shift == "M"


def test_counter_per_order_zeroed_unseen_counts_from_zero():
    """With a counter per order, an order that changed behind a loss means that it was zeroed, even above the old value."""
    bench = Bench(
        counter(reset_policy="per_order", on_restart="zeroes", context_tags={"order": "plc1.order"}),
        picture=Picture(context=ORDER_1),
    )
    bench.see(0, 10)
    bench.down(5, last_good=0)
    bench.up(100)
    events = bench.see(100, 50, others={"plc1.order": "WO-2"})
    assert told(events) == [("reset", 50, 300), (50, "recovered")]
    assert events[1].data["spans"] == ["order"]


def test_counter_per_order_that_goes_on_is_not_zeroed_by_the_order():
    """An order change alone, with the count going on, is no reset."""
    bench = Bench(
        counter(reset_policy="per_order", on_restart="zeroes", context_tags={"order": "plc1.order"}),
        picture=Picture(context=ORDER_1),
    )
    bench.see(0, 10)
    assert told(bench.see(1, 12, others={"plc1.order": "WO-2"})) == [(2, "observed")]


def test_state_survives_its_stored_form_with_everything_open():
    """A held sample, pending evidence and a broken row are the same after a restart."""
    bench = Bench(counter(reset_evidence="plc1.acc_time"))
    bench.boot(0, 7, started=S)
    bench.see(0, 100, others={"plc1.acc_time": 10})
    bench.see(1, 400)
    bench.boot(2, 8)
    bench.bad(3)
    state = bench.states["counters.total"]
    bench.revive()
    assert bench.states["counters.total"] == state


def test_fingerprint_is_the_meaning_and_not_the_thresholds():
    """Another wrap or role starts anew; another rate or tolerance keeps the baseline."""
    (one,), (rate,), (wraps,) = make(), make(max_rate="9/s", burst=7, back_tol=2), make(wraps="uint32")
    assert one.fingerprint == rate.fingerprint
    assert one.fingerprint != wraps.fingerprint
