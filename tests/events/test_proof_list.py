"""The list of proofs is whole, names tests that exist, and its runner tells a failure from a pass."""

from __future__ import annotations

import pytest
from prove import listed, missing, verdict


@pytest.mark.parametrize(("section", "entries"), [("types", 29), ("rows", 20), ("mistakes", 15)])
def test_every_entry_of_the_catalogue_is_listed(section: str, entries: int) -> None:
    """29 types, 20 rows of edge cases, 15 mistakes."""
    assert len(listed()[section]) == entries


def test_the_list_names_tests_that_exist() -> None:
    """A renamed test is found here, not by a table that shrinks."""
    assert list(missing(listed())) == []


@pytest.mark.parametrize(
    ("tests", "outcomes", "word"),
    [
        (["a::x"], {"a::x": ["passed", "passed"]}, "ok"), (["a::x"], {"a::x": ["passed", "failed"]}, "FAIL"), (["a::x"], {"a::x": ["skipped"]}, "FAIL"),
        (["a::x", "b"], {"a::x": ["passed"]}, "FAIL"), ([], {}, "OPEN"),
    ],
)  # fmt: skip
def test_a_verdict_is_ok_only_when_everything_ran_and_passed(tests: list[str], outcomes: dict[str, list[str]], word: str) -> None:
    """What failed, was skipped or did not run proves nothing."""
    assert verdict(tests, outcomes)[0] == word
