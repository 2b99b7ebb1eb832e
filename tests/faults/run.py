"""The fault bench: ``python tests/faults/run.py [--long] [--only STAGE,...] [--seed N] [-k EXPRESSION]``; make faults and make faults-long.

Stages run at the same time in lanes, each in a process of its own, for most of them wait for timeouts. Everything is chosen by the seed.
The last line says everything in one; the exit code is 1 when anything was violated. What failed keeps its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

import reliability
from plan import LONG, SHORT, Job
from tally import Tally, exit_code, last_line, stage_line, total

_STAGE = Path(__file__).with_name("stage.py")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the hour-long column, and RELIABILITY.md")
    parser.add_argument("--only", default="", metavar="STAGE,...", help=f"of {', '.join(job.stage for job in LONG)}")
    parser.add_argument(
        "-k", dest="cases", default="", metavar="EXPRESSION", help="only the written cases, those that match (as in pytest)"
    )
    parser.add_argument("--seed", type=int, help="of everything; default: by chance, and printed")
    parser.add_argument("--trials", type=int, help="how many, for the stages of --only")
    parser.add_argument("--events", type=int, help="how many events the backlog has")
    parser.add_argument("--minutes", type=float, help="how long, for the stages of --only that last")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to replay one")
    parser.add_argument("--lanes", type=int, default=5, help="stages at the same time")
    parser.add_argument(
        "--folder", type=Path, help="where everything is written and kept; default: a temporary one, kept when something failed"
    )
    return parser.parse_args()


def main() -> int:
    """Run the stages in lanes, tell, and judge."""
    chosen = options()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    jobs = wanted(chosen)
    print(
        f"faults: seed {seed}, {len(jobs)} stages in {min(chosen.lanes, len(jobs))} lanes on {os.cpu_count()} cores, in {folder}",
        flush=True,
    )
    began, tested = time.monotonic(), reliability.revision()
    tallies = in_lanes([job for job in jobs if not job.alone], chosen, seed, folder)
    for job in jobs:
        if job.alone:
            tallies += in_lanes([job], chosen, seed, folder)
    if broken := sorted({job.stage for job in jobs} - {each.stage for each in tallies}):
        sys.exit(f"faults: {', '.join(broken)} broke down before they could count anything (see above)")
    whole = total(tallies)
    print("-" * 80)
    for each in tallies:
        print(stage_line(each))
    for failure in whole.failures:
        print(f"FAILED {failure}")
    report = {
        "seed": seed,
        "seconds": time.monotonic() - began,
        "long": chosen.long,
        "stages": [each.as_json() for each in tallies],
        "revisions": {each.stage: tested for each in tallies},
    }
    (folder / "faults.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    if chosen.long and not chosen.only and not chosen.cases:
        reliability.write(report)
    print(
        f"{time.monotonic() - began:.0f} s in all; everything is in {folder}"
        if whole.violations or chosen.folder
        else f"{time.monotonic() - began:.0f} s in all"
    )
    print(last_line(whole), flush=True)
    if not whole.violations and not chosen.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return exit_code(whole)


def wanted(chosen: argparse.Namespace) -> list[Job]:
    """Return what is to be done, the longest first."""
    jobs = list(LONG if chosen.long else SHORT)
    if chosen.cases:
        return [Job("cases")]
    if chosen.only:
        known = {job.stage: job for job in (*LONG, *SHORT)} | {job.stage: job for job in jobs}
        names = chosen.only.split(",")
        if unknown := [name for name in names if name not in known]:
            sys.exit(f"no stage {', '.join(unknown)}; there are {', '.join(known)}")
        jobs = [known[name] for name in names]
    return jobs


def in_lanes(jobs: list[Job], chosen: argparse.Namespace, seed: int, folder: Path) -> list[Tally]:
    """Do all jobs, so many at a time; return their tallies in the order of the list."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(jobs)):
        waiting.put(number)
    done: dict[int, Tally] = {}

    def lane() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                (folder / f"free-{threading.get_ident()}").touch()  # the written cases, if they still run, take its place
                return
            done[number] = tally = one(jobs[number], chosen, seed, folder / jobs[number].stage)
            print(stage_line(tally), flush=True)
            for failure in tally.failures:
                print(f"FAILED {tally.stage}: {failure}", flush=True)
            if tally.violations:
                print(f"       replay: {replay(tally, chosen)}", flush=True)

    threads = [threading.Thread(target=lane) for _ in range(min(chosen.lanes, len(jobs)))]
    for number in range(chosen.lanes - len(threads)):
        (folder / f"free-{number}").touch()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[number] for number in sorted(done)]


def one(job: Job, chosen: argparse.Namespace, seed: int, folder: Path) -> Tally:
    """Do a stage in a process of its own and return what it counted."""
    folder.mkdir()
    trials = chosen.trials or (chosen.events if job.stage == "backlog" and chosen.events else job.trials)
    call = [sys.executable, str(_STAGE), job.stage, "--folder", str(folder), "--seed", str(seed), "--trials", str(trials)]
    call += ["--minutes", str(chosen.minutes or job.minutes), "--first", str(chosen.first), "--only", chosen.cases]
    began = time.monotonic()
    with (folder / "stage.log").open("w") as log:
        process = subprocess.Popen(
            [*call, *(("--long",) if chosen.long else ())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout or ():
            log.write(line)
            if line.startswith("["):
                print(line, end="", flush=True)
    process.wait()
    file = folder / "tally.json"
    if not file.exists():
        return Tally(
            job.stage,
            seed,
            seconds=time.monotonic() - began,
            failures=[f"ended with {process.returncode}; see {folder / 'stage.log'}"],
        )
    return Tally.of_json(json.loads(file.read_text(encoding="utf-8")))


def replay(tally: Tally, chosen: argparse.Namespace) -> str:
    """Return the command that does a stage again, as it was."""
    words = [f"--only {tally.stage}", f"--seed {tally.seed}"]
    words += [f"--{name} {value}" for name in ("trials", "minutes") if (value := getattr(chosen, name))]
    return f'make faults{"-long" * chosen.long} ARGS="{" ".join(words)}"'


if __name__ == "__main__":
    sys.exit(main())
