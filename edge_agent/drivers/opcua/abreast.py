"""Many small requests on their way at once, for as long as the server takes them: the way costs more than what they carry.

Begins with a few and sends more while the answers come fast. The first answer that is not a good one ends it: what is on its way is
still taken (a server may have done it), and the rest goes the careful way, one request after another. A server that ends the
connection over this is remembered, and asked the careful way from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from edge_agent.drivers.opcua.encode import Ready
from edge_agent.model.errors import DisconnectedError

SMALL: Final = 50
"""Operations: requests of fewer go abreast."""
_FIRST: Final = 4
_SLOW: Final = 0.5
"""Machine seconds: a server that lets us wait so long for one answer has enough to do."""

careful: set[str] = set()
"""Servers that ended a connection while requests went abreast."""


class Way(Protocol):
    """What sends requests and waits for their answers."""

    server: str

    def send_ready(self, requests: Sequence[Ready]) -> Sequence[asyncio.Future[Any]]:
        """Send requests in one go; a future for the answer of each."""

    async def answer(self, future: asyncio.Future[Any], what: str) -> bytes:
        """Wait for one answer. Raises DisconnectedError."""


async def abreast(
    way: Way, what: str, most: int, requests: Sequence[Callable[[], Ready]], take: Callable[[int, bytes], bool]
) -> list[int]:
    """Send ``requests``, at most ``most`` on their way; ``take`` gets number and body of each answer and says whether it is good.

    Returns the numbers that have no good answer. Raises DisconnectedError.
    """
    left = dict.fromkeys(range(len(requests)))
    waiting: deque[tuple[int, asyncio.Future[Any]]] = deque()
    width, following, going = min(_FIRST, most), 0, way.server not in careful
    clock = asyncio.get_running_loop().time
    try:
        while waiting or (going and following < len(requests)):
            if going and len(waiting) <= width // 2:
                numbers = range(following, min(len(requests), following + width - len(waiting)))
                waiting.extend(zip(numbers, way.send_ready([requests[number]() for number in numbers]), strict=True))
                following = numbers.stop
            number, future = waiting.popleft()
            asked = clock()
            body = await way.answer(future, what)
            width = min(width + 1, most) if clock() - asked < _SLOW else max(width // 2, 1)
            if take(number, body):
                del left[number]
            else:
                going = False
    except DisconnectedError:
        careful.add(way.server)
        raise
    finally:
        for _, future in waiting:
            future.cancel()
    return list(left)
