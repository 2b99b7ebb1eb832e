"""What could not be tried is said with its reason, and is no success: exit code 77 as automake has it."""

from __future__ import annotations

import pytest

NOT_RUN = 77
_left: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was left out, and why."""
    if report.skipped and isinstance(report.longrepr, tuple):
        _left[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print it."""
    for name, reason in sorted(_left.items()):
        terminalreporter.write_line(f"NOT RUN {name}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Make it no success."""
    if exitstatus == 0 and _left:
        session.exitstatus = NOT_RUN
