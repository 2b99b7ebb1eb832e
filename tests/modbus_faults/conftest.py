"""The last line of the Modbus fault bench."""

from __future__ import annotations

import pytest
from mb_tally import TALLY


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the faults did, where any were played."""
    if TALLY.trials:
        terminalreporter.write_line(TALLY.line())
