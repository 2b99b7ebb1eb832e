"""Writes RELIABILITY.md from what the bench found: ``python tests/faults/reliability.py FOLDER/faults.json...`` (later files replace stages of earlier ones).

``STAGE="why it was run again"`` among the arguments stands beside what the replaced run found: nothing that failed is left out.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
from tally import Tally, bound, last_line, total

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "RELIABILITY.md"

PROMISES = {
    "kills": "SIGKILL of a process that appends: nothing it had promised is lost, no number is missing, the state is that of its events",
    "images": "power cuts (random lost and torn sectors) and rotten files: nothing accepted is lost undeclared, nothing corrupt, no start refused",
    "agent-kills": "SIGKILL of the agent under load and while it starts",
    "cases": "every written fault of disk, broker and network, F10-F19 and F30-F44",
    "random": "a fault of broker or network, which one, when and how long by chance; new data at most 5 s after it ends",
    "disk": "the disk is full, read-only, fails or is slow, and heals",
    "chaos": "up to five faults at once on broker, network, device, disk and agent; new data at most 10 s after all have ended",
    "soak": "many times the rate of a line: memory, open files and threads",
    "bugs": "bugs put in on purpose: the independent checker or the buffer's benches show each",
    "seeded": "bugs put in on purpose: the ordinary tests notice each",
    "backlog": "a full store drains beside the live events",
}

_PLACE = re.compile(r"/\S*/(?=tests/faults/)")
"""Where the project lay when it was tested: nobody's business."""

LEFT_OUT = """\
- Black holes and half-open connections are made by a TCP proxy, not by packet filters: neither root nor a network namespace is needed, and
  what TCP itself does (retransmissions, `TCP_USER_TIMEOUT`) is not exercised by it.
- Full, failing and slow disks are made by a SQLite VFS under the real buffer, power cuts by images from a recording VFS: no real drive was cut
  off. A drive that lies about flush is outside of what any program can promise.
- Sources in the chaos are Modbus devices. The faults of OPC UA servers have tests of their own, not the bench's ledger.
- Asyncio tasks cannot be counted from outside: the soak watches memory, open files and threads.
- Days on a gateway of one's own: the bench runs as long as it is told (`--only chaos --minutes 4320`); no such run stands behind this page.
"""


def machine() -> dict[str, str]:
    """Return what matters of the machine and the versions, without a name of either."""
    memory = next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    about = {
        "cores": str(os.cpu_count()),
        "memory": f"{round(int(memory) / 2**20)} GiB",
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }
    about |= {"Python": platform.python_version(), "SQLite": f"{apsw.sqlite_lib_version()} (apsw {apsw.apsw_version()})"}
    about |= {name: version(name) for name in ("paho-mqtt", "pymodbus", "asyncua")}
    return about


def revision() -> str:
    """Return the commit that is checked out, ``unknown`` where there is none."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def revisions(stages: dict[str, str]) -> str:
    """Say of which revision the stages are; each by name where they are of several, for no row may pass for another's."""
    found = sorted(set(stages.values()))
    if len(found) == 1:
        return f"revision {found[0]}"
    return "; ".join(f"revision {one}: {', '.join(name for name, of in stages.items() if of == one)}" for one in found)


def row(each: Tally) -> str:
    """Return the line of a stage."""
    limit = bound(each.injected) if not each.violations else "none"
    figures = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in each.figures.items() if isinstance(value, int | float | str)
    )
    return (
        f"| {each.stage} | {PROMISES.get(each.stage, '')} | {each.injected} | {each.violations} | {limit} | {each.recovery:.1f} s | "
        f"{each.duplicates} | {each.seed} | {figures} |"
    )


def page(report: dict[str, Any], about: dict[str, str]) -> str:
    """Return the page."""
    tallies = [Tally.of_json(each) for each in report["stages"]]
    not_run = [line for each in tallies for line in each.figures.get("why_not", ())]
    failures = [f"- {each.stage}: {failure}" for each in tallies for failure in each.failures]
    return "\n".join(
        [
            "# Reliability",
            "",
            "What the fault bench (`make faults-long`, [how to](docs/how-to/faults.md)) found, written by it. With N trials and no failure, the rate of",
            "failures is below 3/N with 95 % confidence. *produced = delivered + declared lost + still buffered* is judged by a checker that shares no",
            "code with the agent.",
            "",
            "```",
            last_line(total(tallies)),
            "```",
            "",
            "| stage | what is done, what is demanded | trials | failures | 95 % bound | longest recovery | duplicates removed | seed | figures |",
            "|---|---|---|---|---|---|---|---|---|",
            *map(row, tallies),
            "",
            "Duplicates are repetitions at the broker, at most the window for each reconnection; a consumer drops them by number. Recovery is from the end of",
            "a fault to the arrival of data made after it, in machine time.",
            "",
            f"It took {report['seconds'] / 60:.0f} minutes. "
            + ", ".join(f"{name} {value}" for name, value in about.items())
            + f"; {revisions(report['revisions'])}.",
            "",
            *(["## Failures", "", *failures, ""] if failures else []),
            *(["## Stages that were run again", "", *again, ""] if (again := report.get("again")) else []),
            "## Left out, and why",
            "",
            LEFT_OUT + "".join(f"- Not run: {line}\n" for line in not_run),
        ]
    )


def write(report: dict[str, Any]) -> None:
    """Write the page."""
    PAGE.write_text(page(report, machine()), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def main() -> None:
    """Put several runs together."""
    why = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    reports = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:] if "=" not in name]
    stages = {each["stage"]: each for report in reports for each in report["stages"]}
    of = {name: one for report in reports for name, one in report["revisions"].items()}
    again = [
        f"- {each['stage']}, at revision {report['revisions'][each['stage']]}: {_PLACE.sub('', failure)}. {why.get(each['stage'], '')}".rstrip()
        for report in reports
        for each in report["stages"]
        if each is not stages[each["stage"]]
        for failure in each["failures"]
    ]
    write(
        {"stages": list(stages.values()), "revisions": of, "again": again, "seconds": sum(report["seconds"] for report in reports)}
    )


if __name__ == "__main__":
    main()
