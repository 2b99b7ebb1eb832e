"""``edge-agent reload``: the running agent reads its files again."""

from __future__ import annotations

import sys
from pathlib import Path

from edge_agent import logs
from edge_agent.cli.reach import running
from edge_agent.cli.words import json_text, plain
from edge_agent.config.load import InvalidConfigError, agent_of, load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.report import ReloadReport

EXIT_CONFIG = 78
_CODES = {"reloaded": 0, "unchanged": 0, "rejected": EXIT_CONFIG}


def reload(directory: Path, *, as_json: bool) -> int:
    """Ask the agent, print what became of it, and return the exit code. Raises EdgeAgentError when no agent runs."""
    logs.configure("error")
    config = _whose(directory)
    desk = running(config, None)
    if desk is None:
        raise EdgeAgentError(
            f"no agent {config.agent.agent} is running, so there is nothing to reload; it reads its files when it starts "
            "(systemctl start edge-agent, or edge-agent run)"
        )
    report = desk.reload()
    if as_json:
        print(json_text(report))
    else:
        _tell(report)
    return _CODES.get(report.outcome, 1)


def _whose(directory: Path) -> AgentConfig:
    """Return who is to be asked: a mistake in a device or unit is for the agent to tell, so that its status tells it, too."""
    try:
        return load(directory)
    except InvalidConfigError as invalid:
        try:
            return agent_of(directory)
        except InvalidConfigError:
            raise invalid from None  # nobody knows where the agent listens


def _tell(report: ReloadReport) -> None:
    if report.outcome == "unchanged":
        print(f"nothing is different; cfg {report.cfg} runs on")
    elif report.outcome == "reloaded":
        print(f"reloaded, cfg {report.cfg}:")
        for change in report.changes:
            print(f"  {plain(change)}")
    else:
        for line in report.text.splitlines():
            print(plain(line), file=sys.stderr)
        print(f"not reloaded, cfg {report.cfg} runs on\n  -> {plain(report.remedy)}", file=sys.stderr)
