"""Patterns over browse paths, and the names that tags get from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.opcua.glob import Pattern, tag_names

STEPS = st.lists(st.text("ab/*&[.", min_size=1, max_size=4), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("Line1/**", "Line1", False),
        ("Line1/**", "Line1/a", True),
        ("Line1/**", "Line1/a/b/c", True),
        ("Line1/**", "Line2/a", False),
        ("Objects/Line1/*", "Line1/a", True),
        ("Line1/*", "Line1/a/b", False),
        ("**/Speed", "Speed", True),
        ("**/Speed", "a/b/Speed", True),
        ("**/Speed", "a/Speed/b", False),
        ("a/**/b/**", "a/b/c", True),
        ("a/**/b/**", "a/x/y/b/c/d", True),
        ("a/**/b/**", "a/b", False),
        ("Line?/M[12]/S*d", "Line9/M2/Speed", True),
        ("Line?/M[!12]/*", "Line9/M2/Speed", False),
        ("a&*", "a*", True),
        ("a&*", "ab", False),
        ("a.c", "abc", False),
        ("Speed", "x/y/Speed", True),
        ("*Temp*", "x/y/OilTemp1", True),
        ("x/Speed", "w/x/Speed", False),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    """A pattern matches whole paths; of one step it also matches the last name alone."""
    assert Pattern(pattern).matches(path.split("/")) is matches


@given(STEPS)
def test_an_escaped_path_matches_itself(steps: list[str]) -> None:
    """With ``&`` before every character, any path is a pattern for itself, and no branch that leads there is left out."""
    pattern = Pattern("/".join("".join(f"&{char}" for char in step) for step in steps))
    states = pattern.start
    for step in steps:
        states = pattern.below(states, step)
        assert states
    assert pattern.done(states)


@pytest.mark.parametrize("text", ["", "/", "a//b"])
def test_what_is_no_pattern(text: str) -> None:
    """An empty step is a mistake, told with an example."""
    with pytest.raises(ValueError, match="write Line1"):
        Pattern(text)


def test_names_of_tags() -> None:
    """Names are allowed ones, twins are told apart by their paths, whatever the order, and long ones are cut with a hash."""
    paths = [("Line 1", "M/1", "Speed"), ("Line1", "x"), ("Line1", "y", "x"), ("ü",), ("a" * 80,), ("a" * 79,)]
    names = tag_names(paths, "path")
    assert names[:4] == ["Line_1_M_1_Speed", "Line1_x", "Line1_y_x", "tag"]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 64
    leaves = tag_names(paths[1:3], "leaf", "p_")
    assert leaves == tag_names(paths[2:0:-1], "leaf", "p_")[::-1]
    assert all(name.startswith("p_x_") for name in leaves)
