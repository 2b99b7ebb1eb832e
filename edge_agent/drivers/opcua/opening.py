"""The one way in which a session comes to be: for acquisition, for browsing, for looking."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from edge_agent.drivers.opcua.channel import Secured, open_session, secured
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.guard import Guard
from edge_agent.drivers.opcua.pace import PACE, Pace
from edge_agent.drivers.opcua.session import Session
from edge_agent.ports import Identity, PlantClock


@contextlib.asynccontextmanager
async def opened(
    configs: Sequence[OpcUaConfig], clock: PlantClock, pace: Pace = PACE, identity: Identity | None = None, keeps: bool = False
) -> AsyncIterator[tuple[Session, Secured]]:
    """Open a session for devices with one link, and say how it is secured; closes within ``pace.teardown`` seconds.

    Nothing can be written with it until somebody lists acknowledgement tags in its guard. Raises DisconnectedError when the server is not
    there, UntrustedError (one of those) when a person must act first, ConfigError without an ``identity`` for what must be secured.
    With ``keeps`` the server keeps the subscriptions when the session ends.
    """
    guard = Guard(insecure=configs[0].allow_insecure)
    timeout = max(config.timeout for config in configs) / 1e9
    link = await secured(configs[0], guard, identity)
    link.client.keep_subscriptions(keeps)
    session = Session(link.client, guard, timeout, clock, configs[0].profile)
    try:
        await open_session(session, link, identity)
        yield session, link
    finally:
        await session.close(pace.teardown)


@contextlib.asynccontextmanager
async def session_with(
    configs: Sequence[OpcUaConfig], clock: PlantClock, pace: Pace = PACE, identity: Identity | None = None
) -> AsyncIterator[Session]:
    """Open a session as `opened` does."""
    async with opened(configs, clock, pace, identity) as (session, _):
        yield session
