"""The buffers that the agent's parts are tried with: the real one and its model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.ports import Buffer


@pytest.fixture(params=["memory", "sqlite"])
async def buffer(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Buffer]:
    """One buffer of each kind."""
    if request.param == "memory":
        yield MemoryBuffer()
        return
    async with open_buffer(
        BufferConfig.model_validate({"path": tmp_path / "buffer", "min_free": 0, "commit_interval": "1ms"})
    ) as real:
        yield real
