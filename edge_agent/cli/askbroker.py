"""What ``check --connect`` learns of the broker: whether it takes this agent's connection, and if not, why."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from edge_agent.agent.adopt import broker_of
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import ConfigError, DisconnectedError

_PATIENCE = 5.0
"""Machine seconds for the connection beyond what the configuration gives it."""


class BrokerAnswer(NamedTuple):
    """Which brokers were asked, and what was wrong; None: the connection was taken, and ended again."""

    url: str
    problem: str | None

    @property
    def ok(self) -> bool:
        """Whether it was taken."""
        return self.problem is None


def ask(config: AgentConfig) -> BrokerAnswer:
    """Connect as the agent does (name, TLS, user, password) under a client id of its own, so that a running agent keeps its place; publish nothing."""
    return BrokerAnswer(", ".join(broker.url for broker in config.agent.mqtt.brokers), asyncio.run(_problem(config)))


async def _problem(config: AgentConfig) -> str | None:
    try:
        async with asyncio.timeout(config.agent.mqtt.connect_timeout / 1e9 + _PATIENCE), AsyncExitStack() as stack:
            await stack.enter_async_context(broker_of(config, "check"))
    except (DisconnectedError, ConfigError) as error:
        return str(error)
    except TimeoutError:
        return "it does not answer"
    return None
