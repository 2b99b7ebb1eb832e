"""Run what proves the catalogue and print one line per event type, per row of the edge cases and per mistake: ``make events``."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from ruamel.yaml import YAML

TESTS = Path(__file__).resolve().parents[1]
TITLES = {"types": "event types", "rows": "edge cases", "mistakes": "mistakes of other agents"}


def listed() -> dict[str, dict[str, list[str]]]:
    """Return the list as it stands in ``proof.yaml``."""
    found: dict[str, dict[str, list[str]]] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("proof.yaml"))
    return found


def wanted(proof: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Return every test that the list names, once."""
    return list(dict.fromkeys(test for entries in proof.values() for tests in entries.values() for test in tests))


def missing(proof: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    """Yield the tests of the list that do not exist."""
    for test in wanted(proof):
        file, _, name = test.partition("::")
        path = TESTS / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else None
        names = (
            {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)} if tree else set()
        )
        if tree is None or (name and name not in names):
            yield test


def run(tests: list[str]) -> dict[str, list[str]]:
    """Run ``tests``; return the outcomes (passed, failed, skipped) of each file and of each function."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "-o",
            "junit_family=xunit1",
        ]
        found = subprocess.run(
            [*command, *(f"tests/{test}" for test in tests)], cwd=TESTS.parent, capture_output=True, text=True, check=False
        )
        if found.returncode != 0:
            sys.stderr.write(f"{found.stdout}{found.stderr}")  # why something failed stands before the table
        root = ET.parse(report).getroot() if report.exists() else ET.Element("nothing")
    outcomes: dict[str, list[str]] = defaultdict(list)
    for case in root.iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        file = case.get("file", "").removeprefix("tests/")
        for name in (file, f"{file}::{case.get('name', '').partition('[')[0]}"):
            outcomes[name].append(outcome)
    return outcomes


def verdict(tests: list[str], outcomes: Mapping[str, list[str]]) -> tuple[str, str]:
    """Return the verdict of one entry and how many cases it stands on."""
    found = [outcome for test in tests for outcome in outcomes.get(test, ["not run"])]
    passed = found.count("passed")
    if not tests:
        return "OPEN", "no test"
    if passed == len(found):
        return "ok", f"{passed} cases"
    return "FAIL", f"{passed} of {len(found)} cases; " + ", ".join(
        test for test in tests if set(outcomes.get(test, ["?"])) != {"passed"}
    )


def say(line: str) -> None:
    """Print one line of the table."""
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Print the table; return 1 unless every entry is proved."""
    proof = listed()
    outcomes = run(wanted(proof))
    bad = 0
    for section, entries in proof.items():
        say(f"\n{TITLES[section]}")
        for name, tests in entries.items():
            word, basis = verdict(tests, outcomes)
            bad += word != "ok"
            shown = ", ".join(test.partition("::")[2] or test for test in tests) or "-"
            say(f"  {word:<4}  {name}: {basis}: {shown}")
    total = sum(len(entries) for entries in proof.values())
    say(f"\n{total - bad} of {total} proved" + (f", {bad} not" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
