"""Every event that a test here makes fits the schema of its type."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from events_fit import judged


@pytest.fixture(autouse=True)
def _events_fit_their_schemas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that folds an event which its schema refuses."""
    with judged(monkeypatch):
        yield
