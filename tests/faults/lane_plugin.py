"""A pytest plugin: several runs of the same selection share its cases, each taken by whoever is free. Used by the runner only.

A case is taken by making a file in ``FAULT_LANES``, which works between processes without a lock. Its outcome is a line in ``FAULT_LANES``/done.jsonl.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDER = Path(os.environ["FAULT_LANES"])


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Run the cases that nobody else has taken yet, those that wait longest first: none of them may begin last."""
    for number, item in enumerate(sorted(session.items, key=_waits, reverse=True)):
        try:
            (_FOLDER / f"taken-{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return True


def _waits(item: pytest.Item) -> float:
    mark = item.get_closest_marker("waits")
    return mark.args[0] if mark else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell the runner how a case ended, and what it said when it failed."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        told = {"case": item.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 1), "when": report.when}
        if report.outcome == "failed":
            told["why"] = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr).strip().splitlines()[-1][:300]
        if hasattr(report, "wasxfail"):
            told["outcome"] = "xfailed"
        elif report.outcome == "skipped":
            told["why"] = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)[:200]
        with (_FOLDER / "done.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(told) + "\n")
    return report
