"""The stage that tests the bench: with each known bug put into a copy of the program, the ledgers show it; without one they balance."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants import MUTANTS, Mutant, Planted, finding
from order import Order
from tally import Tally


def bugs(order: Order) -> Tally:
    """Put in the first so many bugs of the table, two at a time; one that is not caught is a failure, and so is a story that fails without any."""
    tally = Tally("bugs", order.seed)
    chosen: list[Mutant | Planted | None] = [*MUTANTS[order.first : order.first + order.trials], *([None] if order.long else [])]
    folders = [order.folder / f"bug{number}" for number in range(len(chosen))]
    caught = 0
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(tried, mutant, folder, order.seed) for mutant, folder in zip(chosen, folders, strict=True)]
        for number, (mutant, job) in enumerate(zip(chosen, jobs, strict=True)):
            said = job.result()
            fine = not said if mutant is None else any(word in said for word in mutant.shows)
            name = "no bug" if mutant is None else mutant.name
            order.say(
                f"{order.first + number}: {name}: {('caught' if mutant else 'balanced') if fine else 'NOT CAUGHT'} ({said[:100]})"
            )
            if fine:
                caught += mutant is not None
                shutil.rmtree(folders[number], ignore_errors=True)
            else:
                tally.failures.append(f"{name} (number {order.first + number}): {said or 'nothing was noticed'}")
    tally.injected = len(chosen) - (None in chosen)
    tally.figures["caught"] = f"{caught} of {tally.injected}"
    return tally


def tried(mutant: Mutant | Planted | None, folder: Path, seed: int) -> str:
    """Return what was noticed; a bench that breaks down has noticed nothing."""
    try:
        return finding(mutant, folder, seed)
    except Exception as error:  # noqa: BLE001 - told as what was said, and no word of a finding is in it
        return f"broke down: {type(error).__name__}: {error}"


def seeded(order: Order) -> Tally:
    """Run the table of bugs that the ordinary tests have to notice (``tests/seeded``)."""
    tally = Tally("seeded", order.seed)
    call = [
        sys.executable,
        "-m",
        "pytest",
        "tests/seeded",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-vv",  # -q stands in the project's own options, and takes one of them back: without the second nobody is named
        "--tb=line",
        "--timeout=600",
    ]
    done = subprocess.run(call, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=1800, check=False)
    (order.folder / "pytest.log").write_text(done.stdout + done.stderr)
    found = re.findall(r"test_a_known_bug_is_noticed\[(.*)\] (PASSED|FAILED|ERROR)", done.stdout)
    tally.injected = len(found)
    tally.failures = [f"{name}: not noticed" for name, outcome in found if outcome != "PASSED"]
    tally.figures["caught"] = f"{sum(outcome == 'PASSED' for _, outcome in found)} of {len(found)}"
    if done.returncode and not tally.failures:
        tally.failures.append(f"pytest ended with {done.returncode}; see {order.folder / 'pytest.log'}")
    return tally
