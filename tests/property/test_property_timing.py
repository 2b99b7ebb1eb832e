"""Properties are judged by what they claim, not by the time that a busy machine takes."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def test_no_property_fails_for_a_slow_machine() -> None:
    """An example may take as long as it takes, in every room's tests."""
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings(max_examples=10).suppress_health_check
