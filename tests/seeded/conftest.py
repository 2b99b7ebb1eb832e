"""The marker of the tests that put bugs in."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "seeded: puts a known bug into a copy of the program and sees a test notice it")
