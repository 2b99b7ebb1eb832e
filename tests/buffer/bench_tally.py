"""What a bench of the buffer counts, and how it says it: one JSON object, and exit code 0 only when nothing was found."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from seeded_bugs import BUGS, plant

KINDS = ("lost", "holes", "corrupt", "refusals")


@dataclass
class Tally:
    """Counts of one bench: trials, findings by kind, further figures by name, and the first findings in words."""

    trials: int = 0
    found: Counter[str] = field(default_factory=Counter)
    figures: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def finding(self, kind: str, words: str) -> None:
        """Count a finding (one of `KINDS`)."""
        assert kind in KINDS
        self.found[kind] += 1
        self.words = [*self.words, f"{kind}: {words}"][:10]

    def add(self, other: Tally) -> None:
        """Take in what another process counted."""
        self.trials += other.trials
        self.found += other.found
        self.figures += other.figures
        self.words = [*self.words, *other.words][:10]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found.total()


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with what every bench takes."""
    made = argparse.ArgumentParser(prog=program, description=description)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the tally there too")
    made.add_argument("--bug", choices=sorted(BUGS), help="put a bug into the program that the bench has to find")
    made.add_argument("--workers", type=int, default=2, help="processes at once")
    return made


def scratch() -> Path | None:
    """Return where stores are made: in memory where there is such a place, for the benches give no honest sync anyway."""
    return Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def run(bench: str, options: argparse.Namespace, parts: list[tuple[object, ...]], work: Callable[..., Tally]) -> int:
    """Do ``work(*part)`` for all parts, print the tally and return the exit code: 0 when nothing was found."""
    begun = time.monotonic()
    total = Tally()
    for tally in _all(options, parts, work):
        total.add(tally)
    told = {"bench": bench, "seed": options.seed, "bug": options.bug, "trials": total.trials}
    told |= {kind: total.found[kind] for kind in KINDS} | dict(total.figures)
    told |= {"seconds": round(time.monotonic() - begun, 1), "findings": total.words}
    if options.json is not None:
        options.json.write_text(json.dumps(told) + "\n")
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if total.clean and total.trials else 1


def told_by(program: str, *arguments: str) -> dict[str, object]:
    """Run a bench of this folder as a program and return its tally; the exit code says the same."""
    call = [sys.executable, str(Path(__file__).with_name(program)), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=False)
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (1 if told["findings"] else 0), done.stderr
    return told


def _all(options: argparse.Namespace, parts: list[tuple[object, ...]], work: Callable[..., Tally]) -> Iterator[Tally]:
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=plant, initargs=(options.bug,)) as pool:
        for future in [pool.submit(work, *part) for part in parts]:
            yield future.result()
