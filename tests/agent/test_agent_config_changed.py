"""`config.changed`: a start with another configuration than the one before says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from agent_bench import ManualClock, at

from edge_agent.agent.journal import Journal
from edge_agent.model.stream import Checkpoint, Custody, Entry


class Store:
    """A buffer with the agent's stream alone."""

    epoch, previous_epoch, fresh = "E1", None, False

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.told: list[tuple[str, Any]] = []
        self.seen: int | None = None

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return what was kept."""
        assert owner == "_agent/gw"
        return dict(self.kept), self.seen

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Take everything."""
        assert checkpoint is not None
        self.kept |= checkpoint.states
        self.seen = checkpoint.last_seen
        self.told += [(entry.type, msgspec.json.decode(entry.body)) for entry in events]
        return Custody.DURABLE


async def test_another_configuration_than_before_is_told_once_with_both_hashes() -> None:
    """The first start and one with the same configuration say nothing."""
    store = Store()
    for cfg in ("aaa", "aaa", "bbb", "bbb"):
        journal = Journal("_agent/gw", cast("Any", store), ManualClock(), prefix="edgeagent", cfg=cfg, devices={})
        await journal.started(at(0))
    changed = [body for kind, body in store.told if kind == "edgeagent.config.changed.v1"]
    assert [(body["cfg_old"], body["cfg_new"], body["cfg"]) for body in changed] == [("aaa", "bbb", "bbb")]
    assert [kind for kind, _ in store.told].count("edgeagent.agent.started.v1") == 4
