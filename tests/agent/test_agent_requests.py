"""What the answer to a resend says of the numbers that were not sent again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from edge_agent.agent.requests import ResendRequest, _resend
from edge_agent.ports import ArchiveBuffer, StreamLevel


class Kept:
    """A buffer that has numbers 3 to 6 of a stream, 3 and 4 delivered."""

    async def levels(self) -> Sequence[StreamLevel]:
        """Return the one stream."""
        return [StreamLevel("filler", "now", 3, 6, 4, None)]

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Return how many delivered ones are in the range."""
        assert output == "mqtt"
        return len({3, 4} & set(range(first, last + 1))) if (stream, epoch) == ("filler", "now") else 0


@pytest.mark.parametrize(
    ("epoch", "first", "last", "resent", "waiting", "not_kept", "end"),
    [
        ("now", 3, 4, 2, 0, 0, 6),
        ("now", 1, 4, 2, 0, 2, 6),
        ("now", 0, 2, 0, 0, 2, 6),
        ("now", 4, 6, 1, 2, 0, 6),
        ("now", 5, 1_000_000, 0, 2, 0, 6),
        ("now", 7, 9, 0, 0, 0, 6),
        ("before", 1, 9, 0, 0, 9, 0),
    ],
)
async def test_only_what_is_gone_is_called_not_kept(
    epoch: str, first: int, last: int, resent: int, waiting: int, not_kept: int, end: int
) -> None:
    """What waits for its first delivery comes anyway, and what was never given is no loss: whoever asked must not book either as one."""
    answer = await _resend(cast("ArchiveBuffer", Kept()), ResendRequest("filler", epoch, first, last))
    assert answer == {"resent": resent, "waiting": waiting, "not_kept": not_kept, "last": end}
