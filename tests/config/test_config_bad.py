"""Mistakes people make: each file here must be refused at the right line, with its cause and its remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.config.load import InvalidConfigError, load

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
_EXPECT = re.compile(r"^# expect (\d+): (.*?) \| ?(.*)$", re.MULTILINE)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_mistake_is_told_at_its_line_with_a_remedy(file: Path) -> None:
    """Every expected problem is found at its line with its words, and there are no others."""
    expected = _EXPECT.findall(file.read_text(encoding="utf-8"))
    assert expected
    with pytest.raises(InvalidConfigError) as caught:
        load(file)
    found = [(problem.line, problem.message, problem.remedy) for problem in caught.value.problems]
    for (line, message, remedy), (at, said, advice) in zip(expected, found, strict=False):
        assert (at, message in said, remedy in advice) == (int(line), True, True), found
    assert len(found) == len(expected), found


def test_the_typical_mistakes_are_many_and_nearly_all_have_a_remedy() -> None:
    """Thirty-five and more, each with what to do about it, and no two alike."""
    expected = [_EXPECT.findall(file.read_text(encoding="utf-8")) for file in BAD]
    with_remedy = [file for file in expected if all(remedy for _, _, remedy in file)]
    assert len(with_remedy) >= 75
    assert len({str(file) for file in expected}) >= 75
