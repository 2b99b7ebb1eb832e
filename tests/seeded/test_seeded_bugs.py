"""The tests are tested: with each known bug put into a copy of the program, the tests that must notice it do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
_NEEDED = ("edge_agent", "simulators", "tests", "config", "pyproject.toml")
_NOT_NEEDED = shutil.ignore_patterns(".hypothesis", "seeded", "e2e", "*.tmp")
_NOTICED = re.compile(r"^E +(AssertionError|assert |Failed: DID NOT RAISE)", re.MULTILINE)
_AT_ONCE = 2
"""Bugs tried at the same time."""

pytestmark = pytest.mark.seeded
Outcome = subprocess.CompletedProcess[str]


def copy_to(folder: Path) -> Path:
    """Copy what the tests need; files keep their times, so that compiled modules stay valid."""
    for name in _NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=_NOT_NEEDED)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def put_in(bug: Bug, folder: Path) -> None:
    """Make the mistake in the copy. Fails when its place is not there exactly once: then the table must follow the program."""
    source = folder / bug.source
    text = source.read_text(encoding="utf-8")
    assert text.count(bug.right) == 1, f"{bug.source} holds the place of '{bug.name}' {text.count(bug.right)} times"
    source.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")
    for compiled in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
        compiled.unlink()


def python(arguments: Sequence[str], folder: Path) -> Outcome:
    """Run Python in the copy: what is imported is the copy's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "EDGE_AGENT_"))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )


def run(tests: Iterable[str], folder: Path) -> Outcome:
    """Run ``tests`` of the copy in a process of their own."""
    options = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-rf", "--timeout=50")
    return python(["-m", "pytest", *options, *tests], folder)


def attempt(bug: Bug, folder: Path) -> Outcome:
    """Put the bug into a copy of its own and run who must notice it."""
    put_in(bug, copy_to(folder))
    return run(bug.noticed_by, folder)


@pytest.fixture(scope="module")
def attempts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """Try the bugs of this run, some at a time."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {call.params["bug"] for call in calls if call is not None and "bug" in call.params}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {bug.name: pool.submit(attempt, bug, tmp_path_factory.mktemp("bug") / "copy") for bug in BUGS if bug in wanted}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_a_known_bug_is_noticed(bug: Bug, attempts: dict[str, Future[Outcome]]) -> None:
    """Every test named in the table fails, by an assertion and not because the program no longer starts."""
    outcome = attempts[bug.name].result()
    said = f"{outcome.stdout[-3000:]}\n{outcome.stderr[-1000:]}"
    assert outcome.returncode == pytest.ExitCode.TESTS_FAILED, said
    assert not re.search(r"^ERROR", outcome.stdout, re.MULTILINE), said
    assert _NOTICED.search(outcome.stdout), said
    failed = [line.removeprefix("FAILED ") for line in outcome.stdout.splitlines() if line.startswith("FAILED ")]
    for test in bug.noticed_by:
        assert any(line.startswith(test) for line in failed), f"{test} noticed nothing\n{said}"


def test_without_a_bug_the_same_tests_pass(tmp_path: Path) -> None:
    """The copy as it is passes everything that the table names, and it is the copy that is tested."""
    copy = copy_to(tmp_path / "copy")
    imported = python(["-c", "import edge_agent; print(edge_agent.__file__)"], copy).stdout
    assert Path(imported.strip()).is_relative_to(copy)
    outcome = run(sorted({test for bug in BUGS for test in bug.noticed_by}), copy)
    assert outcome.returncode == pytest.ExitCode.OK, outcome.stdout[-3000:]


def test_a_bug_whose_place_is_gone_is_told(tmp_path: Path) -> None:
    """When the program changed under the table, the harness says so instead of testing nothing."""
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for right in ("x = 1", "y = 1"):
        with pytest.raises(AssertionError, match=r"a\.py holds the place of 'gone' [02] times"):
            put_in(Bug("gone", "a.py", right, "", ()), tmp_path)
