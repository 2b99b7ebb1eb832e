"""Queues of monitored items: which value goes, which one carries the Overflow bit."""

import pytest
from asyncua import ua

from simulators.plc_queue import OVERFLOW, enqueue


def filled(size, discard_oldest, count):
    """Queue ``count`` values 1.. into ``size`` places; give (value, overflow) of what remains."""
    queue = []
    for number in range(1, count + 1):
        value = ua.DataValue(ua.Variant(number, ua.VariantType.Int32), ua.StatusCode(ua.StatusCodes.Good))
        enqueue(queue, ua.MonitoredItemNotification(ClientHandle=1, Value=value), size, discard_oldest=discard_oldest)
    return [(one.Value.Value.Value, one.Value.StatusCode.value & OVERFLOW == OVERFLOW) for one in queue]


@pytest.mark.parametrize(
    ("size", "discard_oldest", "count", "left"),
    [
        (1, True, 3, [(3, False)]),
        (1, False, 3, [(3, False)]),
        (3, True, 3, [(1, False), (2, False), (3, False)]),
        (3, True, 5, [(3, True), (4, False), (5, False)]),
        (3, False, 5, [(1, False), (2, False), (5, True)]),
        (2, True, 4, [(3, True), (4, False)]),
    ],
)
def test_a_full_queue_drops_by_the_book(size, discard_oldest, count, left):
    """The bit stands beside the missing value, and never in a queue of one."""
    assert filled(size, discard_oldest, count) == left


def test_the_value_in_the_address_space_keeps_its_status():
    """Marking a queued value does not touch the value that other items hold."""
    value = ua.DataValue(ua.Variant(1, ua.VariantType.Int32), ua.StatusCode(ua.StatusCodes.Good))
    queue = []
    for _ in range(4):
        enqueue(queue, ua.MonitoredItemNotification(ClientHandle=1, Value=value), 2, discard_oldest=True)
    assert value.StatusCode.value == 0
