"""The end of a bound and the answer in the same moment: a timeout like any other, and never a cancellation that nobody asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from opcua_plant import WallClock
from wait_for2 import CancelledWithResultError

from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.guard import Guard
from edge_agent.drivers.opcua.security import GuardedClient
from edge_agent.drivers.opcua.session import Session
from edge_agent.model.errors import DisconnectedError


async def _answered_too_late() -> None:
    """Do as the library does whose answer comes while it is being cancelled."""
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        raise CancelledWithResultError(b"answer", False) from None


async def test_an_answer_in_the_last_moment_is_too_late() -> None:
    """The bound ends with a TimeoutError, for a request with a DisconnectedError."""
    with pytest.raises(TimeoutError):
        async with deadline(0.01):
            await _answered_too_late()
    session = Session(GuardedClient("opc.tcp://127.0.0.1:1", 1.0, Guard()), Guard(), 0.01, WallClock())
    with pytest.raises(DisconnectedError, match="no answer within"):
        async with session.bounded("read"):
            await _answered_too_late()


async def test_closing_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A goodbye that is answered in the last moment cancels nobody."""
    client = GuardedClient("opc.tcp://127.0.0.1:1", 1.0, Guard())
    session = Session(client, Guard(), 1.0, WallClock())
    monkeypatch.setattr(client, "disconnect", _answered_too_late)
    wire: Any = SimpleNamespace(is_closed=False, transport=None)
    client.uaclient.protocol = wire
    monkeypatch.setattr(client, "disconnect_socket", lambda: None)
    monkeypatch.setattr("edge_agent.drivers.opcua.session.leave", lambda _: None)
    await session.close(0.01)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Who is cancelled while the bound holds is cancelled, whatever the library makes of it."""

    async def bounded() -> None:
        async with deadline(10):
            await _answered_too_late()

    task = asyncio.create_task(bounded())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
