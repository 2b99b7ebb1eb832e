"""What the audit of the dependencies says: a known vulnerability fails, and what could not be asked is no success."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))
from audit import NOT_RUN, verdict  # noqa: E402

CLEAN = {"name": "a", "version": "1", "vulns": []}
HIT = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "code"),
    [([CLEAN], 0), ([CLEAN, HIT], 1), ([HIT, UNKNOWN], 1), ([CLEAN, UNKNOWN], NOT_RUN), ([], NOT_RUN)],
    ids=["clean", "a hit", "a hit and a question", "a question", "nothing"],
)
def test_the_verdict_of_an_audit(dependencies: list[dict[str, object]], code: int) -> None:
    """One hit is a failure; one package that could not be asked for is not a clean audit."""
    assert verdict(dependencies) == code


def test_a_hit_names_the_version_that_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The line is all that one needs to act."""
    verdict([HIT])
    assert capsys.readouterr().out == "b 2: PYSEC-1 CVE-1; fixed in 2.1\n"
