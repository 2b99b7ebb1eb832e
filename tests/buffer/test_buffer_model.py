"""Any sequence of requests gives the same answers as the buffer in memory, over restarts and kills of the real one."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.model.stream import Checkpoint, Entry, RecordKey

OUT = "mqtt"
STREAMS = (("filler", "E"), ("capper", "E"), ("filler/telemetry", "T"), ("_agent/gw", "E"))


class Buffers(RuleBasedStateMachine):
    """The SQLite store beside its model."""

    def __init__(self) -> None:
        """Make an event loop of our own."""
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="buffer-model-"))
        self.stack = AsyncExitStack()
        self.made = 0
        self.lives = 0

    @initialize()
    def start(self) -> None:
        """Open both."""
        self.runner.run(self._open(self.directory / "0"))
        self.model = self.runner.run(self._model())

    async def _open(self, path: Path) -> None:
        config = BufferConfig(path=path, min_free=0, commit_interval="1ms")
        self.real: SqliteBuffer = await self.stack.enter_async_context(open_buffer(config))

    async def _model(self) -> MemoryBuffer:
        return MemoryBuffer(self.real.epoch)

    def both(self, name: str, *arguments: object) -> object:
        """Ask both and compare."""
        real = self.runner.run(getattr(self.real, name)(*arguments))
        model = self.runner.run(getattr(self.model, name)(*arguments))
        assert real == model, f"{name}{arguments}: store {real}, model {model}"
        return real

    @rule(picks=st.lists(st.sampled_from(STREAMS), max_size=5), owner=st.sampled_from(("filler", "capper")), state=st.booleans())
    def append(self, picks: list[tuple[str, str]], owner: str, *, state: bool) -> None:
        """Append some events, with or without rule state."""
        events = []
        for stream, kind in picks:
            self.made += 1
            body = json.dumps({"counter": "total", "delta": 1, "total": self.made}).encode()
            events.append(Entry(stream, kind, "edgeagent.production.count.v1", self.made, self.made, body, samples=self.made))
        self.both("append", events, Checkpoint(owner, {f"rule{self.made % 3}": b"%d" % self.made} if state else {}, self.made))

    def _pick(self, kind: str, data: st.DataObject) -> list[RecordKey]:
        waiting = [record.key for record in self.runner.run(self.model.peek(OUT, None, 50, kind))]
        return data.draw(st.lists(st.sampled_from(waiting), unique=True)) if waiting else []

    @rule(kind=st.sampled_from("ET"), data=st.data())
    def settle(self, kind: str, data: st.DataObject) -> None:
        """Deliver some of what waits, in any order."""
        self.both("settle", OUT, self._pick(kind, data), [])

    @rule(kind=st.sampled_from("ET"), data=st.data())
    def reject(self, kind: str, data: st.DataObject) -> None:
        """Refuse some of what waits; the next commit puts the loss records there."""
        self.both("settle", OUT, [], [(key, "no") for key in self._pick(kind, data)])
        self.heartbeat()

    @rule(stream=st.sampled_from(STREAMS), first=st.integers(1, 20), length=st.integers(0, 20))
    def resend(self, stream: tuple[str, str], first: int, length: int) -> None:
        """Ask for a range again."""
        self.both("resend", OUT, stream[0], self.real.epoch, first, first + length)

    @rule(kind=st.sampled_from("ET"), limit=st.integers(0, 10), data=st.data())
    def look_behind(self, kind: str, limit: int, data: st.DataObject) -> None:
        """Peek behind any record that waits."""
        waiting = self.runner.run(self.model.peek(OUT, None, 50, kind))
        after = data.draw(st.sampled_from(waiting)).key if waiting else None
        self.both("peek", OUT, after, limit, kind)

    @rule()
    def reopen(self) -> None:
        """Close in order and open again: even deliveries that had no commit yet are known."""
        self.runner.run(self.stack.aclose())
        self.runner.run(self._open(self.directory / str(self.lives)))

    @rule()
    def kill(self) -> None:
        """Go on with a copy of the files as they are after the last commit: what a SIGKILL leaves."""
        self.heartbeat()
        here, there = self.directory / str(self.lives), self.directory / str(self.lives + 1)
        shutil.copytree(here, there)
        self.runner.run(self.stack.aclose())
        self.lives += 1
        self.runner.run(self._open(there))

    def heartbeat(self) -> None:
        """Make a commit."""
        self.made += 1
        self.both("append", [], Checkpoint("filler", {}, self.made))

    @invariant()
    def same(self) -> None:
        """Both give the same queues, states, heads and figures."""
        if not hasattr(self, "model"):
            return
        for kind in "ET":
            self.both("peek", OUT, None, 1000, kind)
        for owner in ("filler", "capper"):
            self.both("states", owner)
        self.both("heads")
        figures = [self.runner.run(buffer.stats()) for buffer in (self.real, self.model)]
        assert [(s.waiting_events, s.waiting_telemetry, s.oldest) for s in figures[:1]] == [
            (s.waiting_events, s.waiting_telemetry, s.oldest) for s in figures[1:]
        ]

    def teardown(self) -> None:
        """Close everything."""
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)


TestBuffers = Buffers.TestCase
TestBuffers.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
