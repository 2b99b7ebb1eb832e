"""The text of loss records: what they cover, how they merge, which totals they carry."""

from __future__ import annotations

import json

from edge_agent.buffer.loss import loss_of
from edge_agent.model.stream import Entry


def count(number: int, counter: str = "total", delta: float = 1) -> Entry:
    """A count whose running total is its number."""
    body = json.dumps({"counter": counter, "delta": delta, "total": number}).encode()
    return Entry("filler", "E", "acme.production.count.v1", number * 10**9, number * 10**9 + 1, body)


def test_a_loss_names_range_interval_and_totals():
    """One record stands for a range: numbers, times, how many, and each counter before and after."""
    entries = [(4, count(10)), (5, count(3, "scrap")), (6, count(12, delta=2))]
    entry = loss_of(entries, "buffer_overflow").entry("acme")
    assert (entry.stream, entry.kind, entry.type, entry.time, entry.samples) == (
        "filler",
        "E",
        "acme.collection.gap.v1",
        12 * 10**9,
        3,
    )
    assert json.loads(entry.body) == {
        "q": "good",
        "derivation": "observed",
        "late": False,
        "reason": "buffer_overflow",
        "interval": ["1970-01-01T00:00:03.000000Z", "1970-01-01T00:00:12.000000Z"],
        "tags": ["*"],
        "lost": {"min": 3, "max": 3},
        "recovered": {},
        "seq_from": 4,
        "seq_to": 6,
        "samples": 3,
        "totals_at_from": {"total": 9, "scrap": 2},
        "totals_at_to": {"total": 12, "scrap": 3},
    }


def test_a_loss_swallows_the_loss_before_it():
    """Merging is associative: in two steps or in one, the same record."""
    entries = [(seq, count(seq)) for seq in range(1, 8)]
    first = loss_of(entries[:4], "buffer_overflow").entry("acme")
    merged = loss_of([(4, first), *entries[4:]], "buffer_overflow").entry("acme")
    assert merged == loss_of(entries, "buffer_overflow").entry("acme")


def test_a_gap_told_by_a_rule_is_a_record_like_any_other():
    """Dropping a gap that rules had declared counts as one lost record; its own numbers are not ours."""
    gap = Entry(
        "filler",
        "E",
        "acme.collection.gap.v1",
        5,
        5,
        b'{"reason":"comm_loss","lost":"unknown","seq_from":null,"seq_to":null,"interval":["",""]}',
    )
    loss = loss_of([(1, count(1)), (2, gap)], "buffer_overflow")
    assert (loss.records, loss.first, loss.last) == (2, 1, 2)


def test_a_body_that_is_no_count_declares_no_totals():
    """Whatever the bytes are, the loss is declared."""
    broken = [
        Entry("filler", "E", "acme.production.count.v1", 1, 1, body) for body in (b"", b"\xff\xfe", b"[]", b'{"counter":"total"}')
    ]
    data = json.loads(loss_of(list(enumerate(broken, 1)), "corruption", "why").entry("acme").body)
    assert (data["lost"], data["detail"]) == ({"min": 4, "max": 4}, "why")
    assert "totals_at_from" not in data
