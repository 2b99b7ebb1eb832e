"""The one way in which a session comes to be: for acquisition, for browsing, for looking."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.guard import Guard
from edge_agent.drivers.opcua.pace import PACE, Pace
from edge_agent.drivers.opcua.security import client_for
from edge_agent.drivers.opcua.session import Session
from edge_agent.ports import PlantClock


@contextlib.asynccontextmanager
async def session_with(configs: Sequence[OpcUaConfig], clock: PlantClock, pace: Pace = PACE) -> AsyncIterator[Session]:
    """Open a session for devices with one endpoint; closes within ``pace.teardown`` seconds.

    Nothing can be written with it until somebody lists acknowledgement tags in its guard. Raises DisconnectedError when the server is
    not there, ConfigError when it may not be used unsecured.
    """
    guard = Guard()
    timeout = max(config.timeout for config in configs) / 1e9
    session = Session(client_for(configs[0], guard), guard, timeout, clock, configs[0].profile)
    try:
        await session.open()
        yield session
    finally:
        await session.close(pace.teardown)
