"""Run as a program by the runner: one stage in a process of its own. Prints how far it is, and leaves its tally in the folder."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import stages_agent
import stages_buffer
import stages_bugs
import stages_cases
import stages_steady
from order import Order
from tally import Tally

STAGES = {
    "bugs": stages_bugs.bugs,
    "cases": stages_cases.cases,
    "seeded": stages_bugs.seeded,
    "kills": stages_buffer.kills,
    "images": stages_buffer.images,
    "agent-kills": stages_agent.agent_kills,
    "random": stages_agent.random_faults,
    "disk": stages_agent.disk_faults,
    "chaos": stages_agent.chaos,
    "soak": stages_steady.soak,
    "backlog": stages_steady.backlog,
}

PATIENT = {"kills", "images"}
"""Stages that only compute: they take the time that those leave over in which an agent has to keep its times."""


def main() -> int:
    """Do one stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--trials", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--long", action="store_true")
    order = Order(**vars(parser.parse_args()))
    if order.stage in PATIENT:
        os.nice(10)
    tally = run(order).closed()
    tally.seconds = time.monotonic() - order.began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    order.say(f"{sum(each.ru_utime + each.ru_stime for each in used):.0f} s of a core")
    (order.folder / "tally.json").write_text(json.dumps(tally.as_json()), encoding="utf-8")
    return 1 if tally.violations else 0


def run(order: Order) -> Tally:
    """Do a stage; one that breaks down has failed."""
    try:
        work = STAGES[order.stage](order)
        return asyncio.run(work) if inspect.iscoroutine(work) else work
    except Exception as error:  # noqa: BLE001 - the runner is told by the tally
        traceback.print_exc()
        return Tally(order.stage, order.seed, failures=[f"broke down: {type(error).__name__}: {error}"])


if __name__ == "__main__":
    sys.exit(main())
