"""systemd's watchdog is fed by progress, never by a timer alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from edge_agent.agent import housekeeping


async def test_a_store_that_does_not_answer_starves_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sign of life follows an answer of the store's writer; while that is out, none is sent."""
    told: list[str] = []
    answers = asyncio.Semaphore(2)
    monkeypatch.setattr(housekeeping, "notify", told.append)
    parts = SimpleNamespace(buffer=SimpleNamespace(stats=answers.acquire))
    task = asyncio.create_task(housekeeping.watchdog(parts, 0))  # type: ignore[arg-type]
    for _ in range(20):
        await asyncio.sleep(0)
    assert told == ["WATCHDOG=1"] * 2
    answers.release()
    for _ in range(20):
        await asyncio.sleep(0)
    assert told == ["WATCHDOG=1"] * 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
