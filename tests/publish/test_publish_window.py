"""The window's bookkeeping: places, turns and answers under cancellation and loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.window import Window


async def _settle():
    for _ in range(3):
        await asyncio.sleep(0)


def _users(size: int) -> tuple[Window, list[int], Callable[[int], Coroutine[Any, Any, None]]]:
    """Return a window, who has come in so far, and how somebody does."""
    window, order = Window(size, asyncio.get_running_loop()), []

    async def use(n: int) -> None:
        await window.take()
        order.append(n)
        window.sent(n)

    return window, order, use


@pytest.mark.parametrize("widen", [True, False], ids=["a wider window", "two acknowledgements at once"])
async def test_nobody_passes_those_who_were_just_let_in(widen):
    """Who asks after others were given their places, and before they have run, comes behind them, although there is a place."""
    window, order, use = _users(2)
    tasks = [asyncio.create_task(use(n)) for n in range(3)]
    await _settle()
    tasks.append(asyncio.create_task(use(3)))  # ready to run before the third hears of its place
    if widen:
        window.resize(10)
    else:
        window.acknowledge(0, 0)
        window.acknowledge(1, 0)
    await _settle()
    assert order == [0, 1, 2, 3]
    window.fail(DisconnectedError("over"))
    await asyncio.gather(*tasks)


async def test_places_are_given_in_the_order_of_asking():
    """First come, first served, also when a place comes back while others wait."""
    window, order, use = _users(1)
    tasks = [asyncio.create_task(use(n)) for n in range(4)]
    for n in range(4):
        await _settle()
        window.acknowledge(n, 0)
        tasks.append(asyncio.create_task(use(10 + n)))
        await _settle()
    assert order == [0, 1, 2, 3, 10]
    window.fail(DisconnectedError("over"))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[5:]] == [DisconnectedError] * 3


async def test_a_place_given_to_someone_who_was_cancelled_goes_on():
    """A cancellation that comes together with the place does not lose the place."""
    window = Window(1, asyncio.get_running_loop())
    await window.take()
    window.sent(1)
    first, second = (asyncio.create_task(window.take()) for _ in range(2))
    await _settle()
    window.acknowledge(1, 0)
    first.cancel()
    await asyncio.wait([first])
    await asyncio.wait_for(second, 1)
    assert first.cancelled()


async def test_a_place_that_comes_with_the_end_is_no_place():
    """Someone whose turn came in the moment the connection ended hears of the end, and sends nothing."""
    window = Window(1, asyncio.get_running_loop())
    await window.take()
    window.sent(1)
    late = asyncio.create_task(window.take())
    await _settle()
    window.acknowledge(1, 0)
    window.fail(DisconnectedError("over"))
    with pytest.raises(DisconnectedError, match="over"):
        await late
    with pytest.raises(DisconnectedError, match="over"):
        await window.take()


async def test_the_first_failure_is_the_one_that_is_told():
    """What is said later (closed by us) does not hide what ended the connection."""
    window = Window(2, asyncio.get_running_loop())
    await window.take()
    answer = window.sent(1)
    window.fail(DisconnectedError("first"))
    window.fail(DisconnectedError("second"))
    with pytest.raises(DisconnectedError, match="first"):
        await answer
    window.acknowledge(1, 0)
    assert window.in_flight == 0


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer", "cancel"]), st.integers(0, 9)), max_size=60), st.integers(1, 4))
def test_never_more_in_flight_than_the_window(steps, size):
    """Whatever the order of asking, answering and cancelling: the bound holds and no place is lost."""
    asyncio.run(_play(steps, size))


async def _play(steps, size):
    window = Window(size, asyncio.get_running_loop())
    tasks, mids = [], []

    async def ask():
        await window.take()
        mids.append(len(mids) + 1)
        window.sent(mids[-1])

    for step, pick in steps:
        if step == "ask":
            tasks.append(asyncio.create_task(ask()))
        elif step == "answer" and mids:
            window.acknowledge(mids[pick % len(mids)], 0)
        elif step == "cancel" and tasks:
            tasks[pick % len(tasks)].cancel()
        if pick % 2:
            await _settle()
        assert window.in_flight <= size
    await _settle()
    while window.in_flight:
        for mid in mids:
            window.acknowledge(mid, 0)
        await _settle()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(asyncio.gather(*(window.take() for _ in range(size))), 1)
