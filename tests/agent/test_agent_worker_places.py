"""Which worker reads which connection, also through reloads."""

from __future__ import annotations

import pytest

from edge_agent.agent.worker.places import Places, spread


@pytest.mark.parametrize(
    ("weights", "carried", "expected"),
    [
        ([], [0, 0], []),
        ([5, 5], [0], [0, 0]),
        ([1, 1], [0, 0], [0, 1]),
        ([9, 1, 1, 1], [0, 0], [0, 1, 1, 1]),
        ([1, 1], [9, 0], [1, 1]),
        ([3, 4], [], [0, 0]),
    ],
)
def test_workers_carry_about_the_same(weights: list[int], carried: list[int], expected: list[int]) -> None:
    """Connections go to where there is least, the heaviest first."""
    assert spread(weights, carried) == expected


def test_workers_keep_their_connections_through_a_reload() -> None:
    """What stays keeps its worker, what is new goes to the one that has least, and who has nothing left is wanted no more."""
    places = Places(2)
    places.assign({("a",): 5, ("b",): 1})
    first, second = places.of(("a",)), places.of(("b",))
    assert [first, second] == places.workers
    places.assign({("a",): 5, ("b",): 1, ("c",): 1}, [("a",), ("b",)])
    assert [places.of((name,)) for name in "abc"] == [first, second, second]
    places.assign({("b",): 1, ("c",): 1}, [("b",), ("c",)])
    assert places.workers == [second]
    places.assign({("b",): 1, ("c",): 1, ("d",): 1}, [("b",), ("c",)])
    third = places.of(("d",))
    assert third is not None
    assert third not in {first, second}
    assert len({worker.name for worker in (first, second, third) if worker is not None}) == 3


def test_workers_that_nobody_asked_for_are_not_there() -> None:
    """Without `workers:` the agent reads by itself, and no more are started than there are connections."""
    none, many = Places(0), Places(16)
    for places in (none, many):
        places.assign({("a", "b"): 5, ("c",): 1})
    assert (none.workers, none.of(("a", "b"))) == ([], None)
    assert len(many.workers) == 2
