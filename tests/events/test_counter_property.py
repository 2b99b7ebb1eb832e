"""Properties of counting against a machine that knows what it made: whatever is sampled, lost, wrapped or restarted, the totals agree."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from registerbench import TAGS, Bench, counter

from edge_agent.events.advance import modulus_of
from edge_agent.events.energy import EnergyConfig
from edge_agent.events.energy import build as build_energy
from edge_agent.model.reading import Quality

RATE = 3  # parts a second at most


@dataclass
class Machine:
    """The truth: parts made so far and the register that shows them."""

    modulus: int | None
    register: int
    seconds: float = 0.0
    made: int = 0

    def work(self, seconds: float, share: float) -> None:
        """Let time pass in which at most RATE parts a second are made."""
        parts = int(RATE * seconds * share)
        self.seconds += seconds
        self.made += parts
        self.register += parts
        if self.modulus is not None:
            self.register %= self.modulus


WORK = st.tuples(st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0, 31.0, 300.0]), st.sampled_from([0.0, 0.3, 1.0]))
WHAT = st.sampled_from(["good", "good", "good", "uncertain", "bad", "garbage", "missing", "idle", "cut", "killed", "overflow"])
STEPS = st.lists(st.tuples(WORK, WHAT), max_size=30)


def observe(bench: Bench, machine: Machine, what: str, ref: str = "plc1.count", scale: float = 1.0) -> None:
    """Let the agent live through one thing at the machine's present moment."""
    now, device = machine.seconds, ref.partition(".")[0]
    value = machine.register if scale == 1 else machine.register * scale
    if what in ("good", "uncertain"):
        bench.see(now, value, ref, quality=Quality.GOOD if what == "good" else Quality.UNCERTAIN)
    elif what == "bad":
        bench.see(now, -1 if machine.made % 2 else None, ref, quality=Quality.BAD)
    elif what == "garbage":
        bench.see(now, float("nan"), ref)
    elif what == "idle":  # the device answers and is silent, for the register stands
        bench.see(now, value, ref)
        for second in range(1, 61):
            bench.tick(now + second)
        machine.work(60, 0)
    elif what == "cut":
        last_good = max(0.0, now - 3)
        machine.work(20, 1.0)
        bench.down(machine.seconds, last_good, device)
        machine.work(11, 0.5)
        bench.up(machine.seconds, device)
    elif what == "killed":
        machine.work(20, 2 / 3)
        bench.restart(now, machine.seconds)


@settings(max_examples=250, deadline=None)
@given(
    wraps=st.sampled_from(["uint16", "uint32", "packml", "dint", "digits:6", "never"]),
    before_wrap=st.integers(0, 3000),
    steps=STEPS,
)
def test_sum_of_counts_is_what_was_made(wraps, before_wrap, steps):
    """Any interleaving of good, bad and missing samples, losses, restarts and wraps gives the parts that were truly made."""
    modulus = modulus_of(wraps)
    machine = Machine(modulus, 17 if modulus is None else modulus - 1 - before_wrap)
    bench = Bench(counter(wraps=wraps, max_rate=f"{RATE}/s"))
    bench.see(0, machine.register)
    for (seconds, share), what in steps:
        machine.work(seconds, share)
        observe(bench, machine, what)
    bench.see(machine.seconds, machine.register)
    assert bench.counted == machine.made
    totals = [event.data["total"] for event in bench.of("production.count")]
    assert totals == sorted(totals)
    assert not totals or totals[-1] == machine.made
    assert {event.data["kind"] for event in bench.of("counter.discontinuity")} <= {"baseline", "rollover"}


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, start=st.integers(0, 3000))
def test_intervals_of_counts_follow_one_another(steps, start):
    """No two counts overlap and none has a negative length, as long as the clocks run forward."""
    machine = Machine(1 << 31, start)
    bench = Bench(counter())
    bench.see(0, machine.register)
    for (seconds, share), what in steps:
        machine.work(seconds, share)
        observe(bench, machine, what)
    intervals = [event.interval for event in bench.of("production.count")]
    assert all(since <= until for since, until in intervals)
    assert all(before[1] <= after[0] for before, after in pairwise(intervals))


RESETS = st.lists(st.tuples(WORK, WHAT, st.sampled_from(["none", "none", "operator", "reboot"])), max_size=20)


@settings(max_examples=250, deadline=None)
@given(steps=RESETS, on_restart=st.sampled_from(["zeroes", "unknown"]))
def test_resets_are_never_counted_as_parts_and_what_they_hide_is_bounded(steps, on_restart):
    """With resets and reboots: never more than was made, and never more missing than the discontinuities admit."""
    machine = Machine(1 << 31, 1000)
    bench = Bench(counter(on_restart=on_restart, burst=0, reset_evidence="plc1.acc_time"))
    boot, since = 7, 0.0
    bench.boot(0, boot)
    bench.see(0, machine.register, others={"plc1.acc_time": 10_000})

    def see() -> None:
        bench.see(
            machine.seconds,
            machine.register,
            others={"plc1.acc_time": 10_000 + machine.seconds if not since else machine.seconds - since},
        )

    for (seconds, share), what, event in steps:
        machine.work(seconds, share)
        if event != "none":
            machine.work(30, 0.1)
            see()  # known up to here, and the evidence has risen high enough to be seen falling
            machine.work(5, 1.0)
            machine.register, since = 0, machine.seconds
            machine.work(9, 0.5)
        if event == "reboot":
            boot += 1
            bench.down(machine.seconds, since)
            bench.up(machine.seconds)
            bench.boot(machine.seconds, boot)
        if event != "none" or what == "good":
            see()
        else:
            observe(bench, machine, what if what not in ("good", "uncertain") else "missing")
    see()
    hidden = sum(event.data["uncounted"]["max"] for event in bench.of("counter.discontinuity"))
    assert bench.counted <= machine.made <= bench.counted + hidden


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, start=st.integers(99_999_000, 99_999_999), orders=st.lists(st.sampled_from([None, "A", "B"]), max_size=30))
def test_sum_of_intervals_is_what_the_meter_counted(steps, start, orders):
    """However intervals are cut by grid, orders, losses and restarts: their raw deltas add up, and they never overlap."""
    machine = Machine(10**8, start)
    config = EnergyConfig(tag="meter.energy", meter="m", wraps="digits:8", max_rate=f"{RATE}/s")
    (rule,) = build_energy(config, unit="filler", name="el", tags=TAGS, context_tags={"order": "plc1.order"})
    bench = Bench(rule)
    bench.see(0, start * 0.01, "meter.energy")
    for number, ((seconds, share), what) in enumerate(steps):
        machine.work(seconds, share)
        if number < len(orders):
            bench.see(machine.seconds, orders[number] or "", "plc1.order")
            bench.context(order=orders[number])
        observe(bench, machine, what, "meter.energy", 0.01)
    machine.work(1, 1.0)
    bench.see(machine.seconds, machine.register * 0.01, "meter.energy")
    bench.tick(machine.seconds + 0.5, final=True)
    events = bench.of("energy.consumed")
    assert sum(event.data["raw_delta"] for event in events) == machine.made
    assert all(event.interval[0] < event.interval[1] for event in events)
    assert all(before.interval[1] <= after.interval[0] for before, after in pairwise(events))
