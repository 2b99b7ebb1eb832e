"""``edge-agent demo``: simulators, a broker, the agent and a MOM side as processes of their own, and the truth beside what arrived.

The demo starts the simulators as programs; it imports nothing of them. They are the independent witness.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edge_agent.cli.demo.play import Play
from edge_agent.cli.demo.stage import Stage
from edge_agent.cli.demo.verdict import print_verdict
from edge_agent.cli.demo.view import View
from edge_agent.model.errors import ConfigError, EdgeAgentError

ROOT = Path(__file__).resolve().parents[3]


def demo(
    *, once: bool, speed: float, faults: bool, scenario: Path | None, broker: str | None, json_file: Path | None, keep: Path | None
) -> int:
    """Run the demo; return 0 when everything that arrived equals the truth (or when a person quit), 1 when it differs."""
    scenario = (scenario or ROOT / "simulators" / "scenarios" / "line.yaml").resolve()
    if not (ROOT / "simulators" / "mom.py").exists():
        raise ConfigError(
            "the demo needs the simulators, which stand beside the package in the source folder; clone it and run `make demo` there"
        )
    if keep is not None and keep.is_dir() and any(keep.iterdir()):
        raise ConfigError(f"{keep} holds something already, perhaps an earlier run; name a new folder after --keep")
    folder = keep or Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        report = asyncio.run(_run(Stage(ROOT, folder, scenario, speed, faults=faults, broker=broker), once=once, began=began))
    except EdgeAgentError:
        keep = folder  # somebody will want to read the logs
        raise
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"logs, buffer and ledgers: {folder}")
    if report is None:
        return 0
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_verdict(report)
    return 0 if report["ok"] else 1


async def _run(stage: Stage, *, once: bool, began: float) -> dict[str, Any] | None:
    """Play; return the MOM side's report, None when a person quit before the end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stage.close)
        await stage.open()
        play = Play(stage, stop)
        view = View(stage, play, once=once, began=began)
        with view.shown(), view.keys() if not once and sys.stdin.isatty() else contextlib.nullcontext():
            finished = await play.run(view.update)
        return await play.finish() if finished or once else None
