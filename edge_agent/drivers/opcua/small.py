"""Read and CreateMonitoredItems where a server takes few nodes in a request: side by side, encoded by hand."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined"
from collections.abc import Sequence
from functools import partial

from asyncua import ua

from edge_agent.drivers.opcua.abreast import SMALL, Way, abreast
from edge_agent.drivers.opcua.encode import Ready, create_items_request, read_request
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.variant import DecodeError
from edge_agent.drivers.opcua.wire import Created, create_items_response, read_response
from edge_agent.model.errors import DisconnectedError

_SEVERAL = 2


def _read(pairs: Sequence[tuple[ua.ReadValueId, int]]) -> Ready:
    return read_request([wanted for wanted, _ in pairs])


async def read_small(way: Way, size: int, most: int, pairs: Sequence[tuple[ua.ReadValueId, int]], out: Columns) -> int:
    """Read ``size`` values in a request, ``most`` requests on their way, for as long as the server takes them.

    Returns how many values are in ``out`` then, from the first on and without a hole; none where ``size`` is not small.
    """
    if size >= SMALL or most < _SEVERAL or len(pairs) <= size:
        return 0
    chunks = [pairs[at : at + size] for at in range(0, len(pairs), size)]
    before = len(out)

    def take(number: int, body: bytes) -> bool:
        if len(out) - before != number * size:
            return False  # one before it is missing, and the rows have to stand in order
        try:
            status, rows = read_response(body, [handle for _, handle in chunks[number]])
        except DecodeError:
            return False
        out.extend(rows)
        return not status >> 31

    await abreast(way, "read", most, [partial(_read, chunk) for chunk in chunks], take)
    return len(out) - before


async def create_small(
    way: Way, size: int, most: int, subscription: int, wanted: Sequence[ua.MonitoredItemCreateRequest]
) -> dict[int, Created]:
    """Create ``size`` items in a request, as `read_small` reads; returns by place in ``wanted`` what the server answered well."""
    done = dict[int, Created]()
    if size >= SMALL or most < _SEVERAL or len(wanted) <= size:
        return done
    places = range(0, len(wanted), size)

    def take(number: int, body: bytes) -> bool:
        try:
            status, results = create_items_response(body)
        except DecodeError as error:
            # Whether these items are there now, nobody knows: only a new session begins without them.
            raise DisconnectedError(f"create monitored items: {error}") from error
        if status >> 31:
            return False
        if len(results) != len(wanted[places[number] : places[number] + size]):
            raise DisconnectedError(f"create monitored items: {len(results)} results")
        done.update(enumerate(results, places[number]))
        return True

    encode = [partial(create_items_request, subscription, wanted[at : at + size]) for at in places]
    await abreast(way, "create monitored items", most, encode, take)
    return done
