"""The marker of the cases that wait long."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "waits(seconds): takes about so long; the runner of the fault bench begins with the longest")
