"""The rows of the edge-case matrix that counters decide, as one sample after another."""

import pytest
from registerbench import Bench, S, at, counter, told

ROWS = [
    # case, wraps, max rate, before, after, seconds between, what must be told
    ("UInt16 65535->0, dt 13 s, max 1/s", "uint16", "1/s", 65535, 0, 13, [("rollover", 1, 0), (1, "observed")]),
    ("UInt16 65500->10, dt 60, max 1/s", "uint16", "1/s", 65500, 10, 60, [("rollover", 46, 0), (46, "observed")]),
    ("UInt16 60000->10, dt 60, max 1/s", "uint16", "1/s", 60000, 10, 60, [("reset", 10, 60), (10, "observed")]),
    ("PackML 2147483647->0, dt .5, max 3/s", "packml", "3/s", 2147483647, 0, 0.5, [("rollover", 1, 0), (1, "observed")]),
    ("784->0, dt 1, max 3/s", "packml", "3/s", 784, 0, 1, [("reset", 0, 3)]),
    ("one data block re-initialised, 8211->3", "packml", "3/s", 8211, 3, 1, [("reset", 3, 3), (3, "observed")]),
    ("meter 99,999,999->3, dt 60 s, max .5/s", "digits:8", "0.5/s", 99_999_999, 3, 60, [("rollover", 4, 0), (4, "observed")]),
    ("DINT 2147483647->-2147483648", "dint", "3/s", 2147483647, -2147483648, 1, [(1, "observed")]),
    ("DINT -1->0", "dint", "3/s", -1, 0, 1, [("rollover", 1, 0), (1, "observed")]),
]


@pytest.mark.parametrize(("case", "wraps", "rate", "before", "after", "dt", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_matrix_step_of_one_register(case, wraps, rate, before, after, dt, expected):
    """A step between two good samples is told as its row says, and never otherwise."""
    bench = Bench(counter(wraps=wraps, max_rate=rate))
    assert told(bench.see(0, before)) == [("baseline", 0, 0)], case
    assert told(bench.see(dt, after)) == expected, case


def test_matrix_packml_2147483640_to_55_over_31_s_loss():
    """A wrap inside a link loss is a rollover, and its count is recovered, over the whole loss."""
    bench = Bench(counter())
    bench.see(450, 2147483640)
    bench.down(462, last_good=450)
    bench.up(481)
    events = bench.see(481, 55)
    assert told(events) == [("rollover", 63, 0), (63, "recovered")]
    assert events[1].interval == (at(450), at(481))


def test_matrix_boot_changed_5_to_0():
    """A restart that zeroed the counter counts nothing and is no huge negative number."""
    bench = Bench(counter(on_restart="zeroes"))
    bench.boot(0, 7)
    bench.see(1, 5)
    bench.down(5, last_good=1)
    bench.up(25)
    bench.boot(25, 8)
    assert told(bench.see(25, 0)) == [("device_restart", 0, 72)]
    assert bench.counted == 0


@pytest.mark.parametrize(
    ("on_restart", "expected"),
    [
        ("keeps", [(4, "recovered")]),
        ("zeroes", [("device_restart", 8215, 10800), (8215, "recovered")]),
        ("unknown", [("device_restart", 4, 8211), (4, "recovered")]),
    ],
)
def test_matrix_boot_changed_8211_to_8215(on_restart, expected):
    """What a restart did to the register is the user's word: keeps +4, zeroes +8215, unknown +4 with up to 8211 uncounted."""
    bench = Bench(counter(on_restart=on_restart))
    bench.boot(0, 7)
    bench.see(0, 8211)
    bench.down(5, last_good=0)
    bench.up(3600)
    bench.boot(3600, 8)
    assert told(bench.see(3600, 8215)) == expected


def test_matrix_start_time_changed_boot_count_equal():
    """A server restarted without its PLC: the boot counter rules, the count goes on."""
    bench = Bench(counter(on_restart="zeroes"))
    bench.boot(0, 7, started=1 * S)
    bench.see(0, 8211)
    bench.down(5, last_good=0)
    bench.up(9)
    bench.boot(9, 7, started=2 * S)
    assert told(bench.see(9, 8215)) == [(4, "recovered")]


def test_matrix_start_time_decides_where_there_is_no_boot_count():
    """Without a boot counter the server's start time is the evidence."""
    bench = Bench(counter(on_restart="unknown"))
    bench.boot(0, None, started=1 * S)
    bench.see(0, 8211)
    bench.boot(9, None, started=2 * S)
    assert told(bench.see(9, 8215)) == [("device_restart", 4, 8211), (4, "observed")]


def test_matrix_100_to_400_implausible():
    """A jump that the machine cannot make is held for one sample, then told with both values and not counted."""
    bench = Bench(counter())
    bench.see(0, 100)
    assert bench.see(1, 400) == []
    events = bench.see(1.5, 401)
    assert told(events) == [("implausible", 0, 5), (1, "observed")]
    assert (events[0].data["raw_before"], events[0].data["raw_after"]) == ("100", "400")
    assert bench.counted == 1


def test_matrix_agent_stopped_20_s_at_2_per_s():
    """The register, not the agent's memory, is the truth: one recovered count over the agent's absence."""
    bench = Bench(counter())
    bench.see(699, 998)
    bench.see(700, 1000)
    bench.restart(700, 720)
    events = bench.see(720, 1040)
    assert told(events) == [(40, "recovered")]
    assert events[0].interval == (at(700), at(720))


def test_matrix_tag_bad_5_s_then_good_plus_10():
    """A bad period moves no baseline: one recovered count after it."""
    bench = Bench(counter())
    bench.see(900, 100)
    for tenth in range(50):
        assert bench.bad(900.1 + tenth / 10) == []
    assert told(bench.see(905.1, 110)) == [(10, "recovered")]


def test_matrix_store_deleted():
    """Without a stored baseline the first sample is one: no count."""
    bench = Bench(counter())
    assert told(bench.see(0, 754)) == [("baseline", 0, 0)]
    assert bench.counted == 0


def test_matrix_plc_clock_one_hour_step():
    """A PLC clock that jumps gives no negative interval and loses no part, forwards or backwards."""
    bench = Bench(counter())
    bench.see(10, 100, source=10)
    assert told(bench.see(11, 102, source=3611)) == [(2, "observed")]
    assert told(bench.see(12, 104, source=12)) == [(2, "observed")]
    assert all(event.interval[0] <= event.interval[1] for event in bench.of("production.count"))
