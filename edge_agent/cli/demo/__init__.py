"""``edge-agent demo``: simulators, a broker, the agent and a MOM side as processes of their own, and the truth beside what arrived.

The demo starts the simulators as programs; it imports nothing of them. They are the independent witness.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edge_agent.cli.demo.broker import reach
from edge_agent.cli.demo.play import Play
from edge_agent.cli.demo.scenario import checked
from edge_agent.cli.demo.stage import Stage
from edge_agent.cli.demo.until import Stop, StoppedError, deaf
from edge_agent.cli.demo.verdict import print_verdict
from edge_agent.cli.demo.view import View
from edge_agent.model.errors import ConfigError, EdgeAgentError

ROOT = Path(__file__).resolve().parents[3]

EXIT_STOPPED = 130
"""128 + SIGINT, as a shell says it of a program that Ctrl-C ended."""


def demo(
    *,
    once: bool,
    speed: float,
    faults: bool,
    scenario: Path | None,
    broker: str | None,
    json_file: Path | None,
    keep: Path | None,
    workers: int = 0,
) -> int:
    """Run the demo; return 0 when everything that arrived equals the truth (or when a person quit), 1 when it differs, 130 when a signal ended it."""
    folder: Path | None = None
    began = time.monotonic()
    try:
        scenario = _named(scenario).resolve()
        script = _prepared(scenario, broker, keep, json_file)
        folder = _folder(keep)
        stage = Stage(ROOT, folder, scenario, script, speed, faults=faults, broker=broker, workers=workers)
        report = asyncio.run(_run(stage, once=once, began=began))
    except (StoppedError, KeyboardInterrupt):
        deaf()
        print("stopped", flush=True)
        return EXIT_STOPPED
    except ConfigError:
        raise  # nothing ran yet
    except EdgeAgentError:
        keep = folder  # somebody will want to read the logs
        raise
    finally:
        if folder is not None and keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder is not None:
            print(f"logs, buffer and ledgers: {folder}")
    if report is None:
        return 0
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_verdict(report)
    return 0 if report["ok"] else 1


def _named(scenario: Path | None) -> Path:
    """Return the scenario's file: one that is shipped may be named by its name alone, also where a folder is called so."""
    shipped = ROOT / "simulators" / "scenarios" / f"{scenario or 'line'}.yaml"
    return shipped if scenario is None or (not scenario.is_file() and shipped.exists()) else scenario


def _folder(keep: Path | None) -> Path:
    """Make the folder of the run."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{keep} cannot be made: {error.strerror}; name another folder after --keep") from error
    return keep


def _prepared(scenario: Path, broker: str | None, keep: Path | None, json_file: Path | None) -> dict[str, Any]:
    """Refuse what cannot be played, before anything is made or started; return the scenario."""
    if not (ROOT / "simulators" / "mom.py").exists():
        raise ConfigError(
            "the demo needs the simulators, which stand beside the package in the source folder; clone it and run `make demo` there"
        )
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise ConfigError(f"{keep} holds something already, perhaps an earlier run; name a new folder after --keep")
    if json_file is not None and (json_file.is_dir() or not json_file.absolute().parent.is_dir()):
        raise ConfigError(f"{json_file} cannot be written; name a file in a folder that exists after --json")
    script = checked(ROOT, scenario)
    if broker is not None:
        reach(broker)
    return script


async def _run(stage: Stage, *, once: bool, began: float) -> dict[str, Any] | None:
    """Play; return the MOM side's report, None when a person quit before the end. Raises StoppedError after a signal."""
    stop = Stop()
    stop.watch()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(stage.close)
        await stop.unless(stage.open())
        play = Play(stage, stop.asked)
        view = View(stage, play, once=once, began=began)
        with view.shown(), view.keys() if not once and sys.stdin.isatty() else contextlib.nullcontext():
            finished = await stop.unless(play.run(view.update))
        return await stop.unless(play.finish()) if finished else None
