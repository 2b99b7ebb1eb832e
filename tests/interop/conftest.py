"""What the tests against other makes count is printed at the end."""

from __future__ import annotations

import pytest

_FIGURES: list[str] = []


@pytest.fixture
def figures() -> list[str]:
    """Lines that are printed when all tests are done."""
    return _FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures."""
    for line in _FIGURES:
        terminalreporter.write_line(f"interop: {line}")
