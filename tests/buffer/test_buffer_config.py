"""What a user may write about the buffer."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edge_agent.buffer.config import BufferConfig, size, size_text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GiB", 2 << 30),
        ("64 MiB", 64 << 20),
        ("500MB", 500_000_000),
        ("1.5KiB", 1536),
        ("10kB", 10_000),
        ("4096B", 4096),
        (" 1TiB ", 1 << 40),
    ],
)
def test_sizes_are_read_with_their_units(text: str, count: int):
    """Binary and decimal prefixes mean what IEC 80000-13 says."""
    assert size(text) == count


@pytest.mark.parametrize("text", ["2", "2G", "2gib", "-1MiB", "", "MiB", "1 000MiB", True, 1.5, None])
def test_other_sizes_are_refused_with_a_remedy(text: object):
    """A number without a unit could mean anything."""
    with pytest.raises(ValueError, match="not a size; write a number with its unit: 64MiB"):
        size(text)


@pytest.mark.parametrize("count", [1, 1536, 4096, 1 << 20, 3 << 30, 5 << 40, 1_000_001])
def test_a_size_is_written_so_that_it_reads_the_same(count: int):
    """Text and number are the same value."""
    assert size(size_text(count)) == count


def test_only_the_path_has_no_default():
    """The defaults are the documented ones."""
    config = BufferConfig.model_validate({"path": "./var/buffer"})
    assert config.model_dump(mode="json") == {
        "path": "var/buffer",
        "machine_id": None,
        "max_bytes": "2GiB",
        "min_free": "64MiB",
        "commit_interval": "100ms",
        "max_batch": 500,
        "confirm": False,
        "confirm_within": "15s",
        "resend_window": "7d",
    }


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": "10KiB"}, {"max_batch": 0}, {"max_batch": "5"}, {"commit_interval": "0s"}, {"size": "1GiB"}]
)
def test_nonsense_is_refused(wrong: dict[str, object]):
    """Limits that could not work, and unknown names."""
    with pytest.raises(ValidationError):
        BufferConfig.model_validate({"path": "x", **wrong})
