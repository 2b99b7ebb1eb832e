"""Back-off: exponential, jittered, bounded."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from edge_agent.agent.backoff import delays


@pytest.mark.parametrize("seed", range(20))
def test_delays_double_to_the_longest_and_lie_in_the_upper_half(seed):
    """Each wait is between half and all of its bound: 0.1 s, 0.2 s ... 4 s, and 4 s for ever after."""
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0, 4.0]
    waits = list(islice(delays(Random(seed)), len(bounds)))
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, bounds, strict=True))


def test_many_gateways_do_not_knock_in_step():
    """Gateways that lost the same broker at the same moment come back spread over half the bound."""
    fourth = sorted(next(islice(delays(Random(gateway)), 3, None)) for gateway in range(200))
    assert len(set(fourth)) == 200
    assert fourth[-1] - fourth[0] > 0.35


def test_the_limits_are_the_callers():
    """First, factor and longest are parameters."""
    waits = list(islice(delays(Random(1), first=1.0, factor=3.0, longest=4.0), 4))
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, [1.0, 3.0, 4.0, 4.0], strict=True))
