"""Behind a gap ``store_rolled_back`` the independent side books the first count of each counter by its total."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from simulators.books import Books
from simulators.check_records import Arrival
from simulators.check_sources import judge_counter

EPOCH = datetime(2026, 10, 25, tzinfo=UTC)


def count(delta: int, total: int) -> tuple[str, dict[str, Any]]:
    """Return a count of a register that began at 1000."""
    data = {
        "counter": "c0",
        "disposition": "total",
        "delta": delta,
        "total": total,
        "raw": str(1000 + total),
        "ctx": {"order": "A"},
    }
    return "production.count", data


GAP = ("collection.gap", {"reason": "store_rolled_back"})
LOSS = ("collection.gap", {"reason": "comm_loss"})

HISTORIES = [
    pytest.param([count(10, 10), GAP, count(5, 15)], 15, [], id="nothing_was_sent_after_the_checkpoint"),
    pytest.param([count(10, 10), GAP, count(9, 15), count(2, 17)], 17, [], id="four_parts_were_sent_after_it"),
    pytest.param([count(10, 10), GAP, count(2, 15), count(2, 17)], 17, [], id="three_parts_were_kept_unsent"),
    pytest.param([count(10, 10), LOSS, count(9, 15)], 19, ["c0"], id="another_gap_changes_nothing"),
]


@pytest.mark.parametrize(("history", "booked", "wrong"), HISTORIES)
def test_no_part_is_booked_twice_over_a_new_epoch(history: list[tuple[str, dict[str, Any]]], booked: int, wrong: list[str]) -> None:
    """The books of the MOM side add up to the register, and the checker finds each part in one count."""
    books = Books(EPOCH)
    came = []
    for seq, (name, data) in enumerate(history, 1):
        time = "2026-10-25T00:00:01Z"
        books.apply({"id": str(seq), "type": f"edgeagent.{name}.v1", "time": time, "recordedtime": time, "data": data})
        came.append(Arrival(0.0, 1, 0, "filler", "e", seq, f"edgeagent.{name}.v1", data, b"", 0, asked=False))
    assert sum(books.counts.values()) == booked
    assert bool(books.disagreeing) is bool(wrong)
    verdict = judge_counter("c0", list(range(1000, 1001 + history[-1][1]["total"])), came, [])
    assert verdict.counted_twice == (4 if wrong else 0)
    assert verdict.undeclared_missing == 0


def energy(units: int, total: int) -> tuple[str, dict[str, Any]]:
    """Return an energy event of a meter that counts 10 Wh; total in its units."""
    data = {
        "meter": "el",
        "raw_delta": units,
        "delta": units / 100,
        "total": total / 100,
        "ctx": {"order": "A"},
        "interval": [None, None],
    }
    return "energy.consumed", data


@pytest.mark.parametrize(
    ("history", "booked"),
    [
        ([energy(10, 10), GAP, energy(5, 15)], 15),
        ([energy(10, 10), GAP, energy(9, 15), energy(2, 17)], 17),
        ([energy(10, 10), GAP, energy(0, 6), energy(9, 15)], 15),
        ([energy(10, 10), GAP, energy(2, 15)], 15),
        ([energy(10, 10), LOSS, energy(9, 15)], 19),
        ([GAP, energy(4, 12)], 4),
    ],
    ids=["nothing_after", "four_after", "first_is_empty", "kept_unsent", "another_gap", "never_seen"],
)
def test_no_energy_is_booked_twice_over_a_new_epoch(history: list[tuple[str, dict[str, Any]]], booked: int) -> None:
    """The first energy of a meter that says any is booked by its total, in units and in watt-hours."""
    books = Books(EPOCH)
    for seq, (name, data) in enumerate(history, 1):
        time = "2026-10-25T00:00:01Z"
        books.apply({"id": str(seq), "type": f"edgeagent.{name}.v1", "time": time, "recordedtime": time, "data": data})
    assert sum(books.energy.values()) == booked
    assert books.energy_wh == pytest.approx(10 * booked)
