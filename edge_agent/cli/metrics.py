"""``edge-agent metrics``: what Prometheus would read, from the agent's UNIX socket."""

from __future__ import annotations

from pathlib import Path

from edge_agent import logs
from edge_agent.cli.reach import running
from edge_agent.config.load import load
from edge_agent.model.errors import EdgeAgentError


def metrics(directory: Path) -> None:
    """Print the page. Raises EdgeAgentError when no agent runs, or it may not be asked."""
    logs.configure("error")
    config = load(directory)
    desk = running(config, None)
    if desk is None:
        raise EdgeAgentError(f"no agent {config.agent.agent} is running")
    print(desk.metrics(), end="")
