"""The last line of the OPC UA fault bench."""

from __future__ import annotations

import pytest
from odd_tally import TALLY


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the faults did, where any were played."""
    if TALLY.faults:
        terminalreporter.write_line(TALLY.line())
