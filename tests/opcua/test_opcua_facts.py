"""What is remembered of a subscription with every commit: runs of items, and a bound on them."""

from __future__ import annotations

import pytest

from edge_agent.drivers.opcua.facts import MOST_BYTES, Facts, facts_of
from edge_agent.drivers.opcua.track import Track

ITEMS = 50_000


@pytest.mark.parametrize(("runs", "fits"), [(((0, 70_000, ITEMS),), True), (tuple((n, 7 * n, 1) for n in range(2_000)), False)])
def test_items_without_order_are_too_much_to_remember(runs: tuple[tuple[int, int, int], ...], fits: bool) -> None:
    """Any number of items in a row fits into a mark; thousands of single ones do not, and the mark says nothing then."""
    track, facts = Track("digest", keeps=True), Facts("nodes", runs, 100.0, 10.0, 7)
    track.begin(1, 1_000)
    assert (track.describe(facts) <= MOST_BYTES) is fits
    mark = track.mark()
    assert mark is not None
    assert facts_of(mark) == (facts if fits else None)
    assert len(facts.monitored()) == sum(count for _, _, count in runs)
