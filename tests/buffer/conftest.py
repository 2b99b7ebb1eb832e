"""What tests of the buffer share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from power_bench import names
from recording_vfs import RecordingVFS


@pytest.fixture
def vfs() -> Iterator[RecordingVFS]:
    """A recording VFS of its own for each test."""
    made = RecordingVFS(f"recording-{next(names)}")
    yield made
    made.unregister()
