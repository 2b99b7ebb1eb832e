"""Asking the broker and running out of patience at the same time."""

from __future__ import annotations

import asyncio
import json

import pytest
from agent_bench import FakeSink, ManualClock, turns, until

from edge_agent.agent import succeed
from edge_agent.agent.succeed import Origin
from edge_agent.buffer.lineage import Lineage, Run, Succession
from edge_agent.publish.topics import Topics

TOPICS = Topics("edge", ("acme", "plant1"), "gw1")
TIME = "2026-10-25T05:00:00Z"


class SlowStore:
    """A store of another machine that needs its time."""

    epoch = "01A"

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun: list[Succession] = []

    async def lineage(self) -> Lineage:
        """Return a copy's lineage."""
        await asyncio.sleep(0)
        return Lineage((Run("r", "01A", {}), Run("t", "01A", {"filler": 100})), moved=True)

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return none."""
        assert owner == "filler"
        return {}, None

    async def succeed(self, plan: Succession) -> None:
        """Begin an epoch, when it may."""
        self.begun.append(plan)
        await self.go_on.wait()


@pytest.mark.parametrize("patience", [0.0, 0.01])
async def test_a_new_epoch_that_has_begun_is_waited_for_and_begun_once(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is for the broker: units neither open before the states of the new epoch stand, nor does it begin twice."""
    monkeypatch.setattr(succeed, "PATIENCE", patience)
    store, sink = SlowStore(), FakeSink()
    checkpoint = {"stream": "filler", "time": TIME, "epoch": "01A", "last_seq": 101, "published_seq": 101, "runs": ["r"]}
    sink.kept = {TOPICS.checkpoint("filler"): json.dumps(checkpoint).encode()}
    origin = Origin(store, ManualClock(), TOPICS, ["filler"], prefix="edgeagent", cfg="cfg")  # type: ignore[arg-type]
    looking = asyncio.create_task(origin.first_look())
    asking = asyncio.create_task(origin.ask(sink))
    await until(lambda: store.begun)
    await asyncio.sleep(2 * patience)
    await turns()
    assert not looking.done()
    store.go_on.set()
    await asyncio.gather(looking, asking)
    assert len(store.begun) == 1
    assert origin.begun
