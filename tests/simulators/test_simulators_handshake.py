"""The check weigher's hand-over as a table of times and acknowledgements, without a server."""

from simulators.handshake import Handshake
from simulators.line import Sample
from simulators.scenario import SECOND


def samples(*seconds):
    """Samples k = 1.. at these times, all of one boot."""
    return [Sample(k, t * SECOND, f"S{k}", 500 + k, 1, k, 7) for k, t in enumerate(seconds, 1)]


def told(steps):
    """(time, what, Seq) of steps."""
    return [(step.t / SECOND, step.what, step.sample.seq) for step in steps]


def test_the_fields_come_before_seq_and_seq_end_comes_last():
    """A reader that sees SeqEnd sees the whole record."""
    (step,) = Handshake(samples(60)).advance(60 * SECOND)
    assert [(w.tag, w.value, w.t) for w in step.writes] == [
        ("rec_serial", "S1", 60 * SECOND),
        ("rec_weight", 501.0, 60 * SECOND),
        ("rec_verdict", 1, 60 * SECOND),
        ("rec_seq", 1, 60 * SECOND),
        ("rec_seq_end", 1, 60 * SECOND),
    ]


def test_a_sample_is_held_until_its_own_number_is_acknowledged():
    """Nothing and a wrong number leave it standing; the next ones wait in order."""
    record = Handshake(samples(60, 61, 62))
    assert told(record.advance(62 * SECOND)) == [(60, "sample.presented", 1), (61, "sample.waits", 2), (62, "sample.waits", 3)]
    assert record.acknowledge(63 * SECOND, 2) == []
    assert told(record.acknowledge(64 * SECOND, 1)) == [(64, "sample.acknowledged", 1), (64, "sample.presented", 2)]
    assert record.acknowledge(65 * SECOND, 1) == []
    assert told(record.acknowledge(66 * SECOND, 2)) == [(66, "sample.acknowledged", 2), (66, "sample.presented", 3)]


def test_a_dropped_acknowledgement_raises_the_same_number_again():
    """2 s later Seq is 0, then the record stands again with new source times; the second acknowledgement counts."""
    record = Handshake(samples(60, 120), dropped=[1], reraise_after=2 * SECOND)
    record.advance(60 * SECOND)
    assert told(record.acknowledge(61 * SECOND, 1)) == [(61, "sample.ack_dropped", 1)]
    assert record.next_time() == 63 * SECOND
    withdrawn, again = record.advance(64 * SECOND)
    assert [(w.tag, w.value, w.t) for w in withdrawn.writes] == [("rec_seq", 0, 63 * SECOND), ("rec_seq_end", 0, 63 * SECOND)]
    assert [(w.tag, w.value, w.t) for w in again.writes][-2:] == [
        ("rec_seq", 1, 63_100_000_000),
        ("rec_seq_end", 1, 63_100_000_000),
    ]
    assert told(record.acknowledge(65 * SECOND, 1)) == [(65, "sample.acknowledged", 1)]
    assert told(record.advance(120 * SECOND)) == [(120, "sample.presented", 2)]


def test_a_power_off_loses_what_stands_and_what_waits():
    """Both are named in the ledger, and nothing is raised again afterwards."""
    record = Handshake(samples(60, 61, 80), dropped=[1])
    record.advance(61 * SECOND)
    record.acknowledge(62 * SECOND, 1)
    assert told(record.power_off(63 * SECOND)) == [(63, "sample.lost", 1), (63, "sample.lost", 2)]
    assert told(record.advance(90 * SECOND)) == [(80, "sample.presented", 3)]
