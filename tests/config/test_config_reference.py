"""The generated reference says what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cli.schema import schema

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("what", ["agent", "device", "unit", "test"])
def test_the_schema_in_the_docs_is_current(what: str) -> None:
    """``edge-agent schema`` prints exactly what stands in docs/reference (write it anew when it differs)."""
    assert (REFERENCE / f"{what}.schema.json").read_text(encoding="utf-8") == schema(what)
