"""What outlives a connection: counts for status and metrics, names, and what was learned about brokers and messages."""

from __future__ import annotations

from edge_agent.publish.config import MqttConfig
from edge_agent.publish.names import Names
from edge_agent.publish.order import Order
from edge_agent.publish.suspects import Suspects
from edge_agent.publish.takeover import Takeovers
from edge_agent.publish.tries import Tries


class Counters:
    """What happened since the agent started. ``unheard`` = acknowledged, but nobody subscribes."""

    def __init__(self) -> None:
        self.published = 0
        self.resent = 0
        self.unheard = 0
        self.rejected = 0
        self.connections = 0
        self.takeovers = 0
        self.renewals = 0

    @property
    def reconnects(self) -> int:
        """How often a connection was opened after the first one."""
        return max(self.connections - 1, 0)


class Memory:
    """One for each agent, handed to every `connect`."""

    def __init__(self, config: MqttConfig) -> None:
        self.counters = Counters()
        self.names = Names()
        self.order = Order(len(config.brokers))
        self.takeovers = Takeovers()
        self.tries = Tries(config.reject_after)
        self.suspects = Suspects(self.tries)
        self.broker = config.brokers[0].url
        """The address of the latest connection or try."""
