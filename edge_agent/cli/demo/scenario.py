"""The scenario of a demo, checked before anything starts. The simulators check it: they are the ones who play it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.cli.demo.until import undisturbed
from edge_agent.model.errors import ConfigError

_CHECK = 60.0


def checked(root: Path, scenario: Path) -> dict[str, Any]:
    """Return the scenario as its players understand it; raises ConfigError with every problem, its line and place.

    A program of its own, because nothing here imports the simulators; in a session of its own, because Ctrl-C is the demo's to answer.
    """
    code, printed, errors = _run([sys.executable, "-P", "-m", "simulators.scenario", "--json", str(scenario)], root, scenario)
    if code == 0:
        script: dict[str, Any] = json.loads(printed)
        return script
    said = errors.strip().splitlines() or [f"the check ended with exit code {code}"]
    if code != 2:
        raise ConfigError(f"{scenario}: cannot be checked: {said[-1]}")
    count = f"{len(said)} problem{'s' if len(said) > 1 else ''} in the scenario"
    raise ConfigError("\n".join([*said, f"{count}; simulators/scenarios/line.yaml shows how one is written"]))


def _run(command: list[str], root: Path, scenario: Path) -> tuple[int, str, str]:
    """Return exit code, output and errors; whatever ends this ends the program too, also a Ctrl-C in the moment in which it is started."""
    process = None
    try:
        with undisturbed():
            process = subprocess.Popen(  # noqa: S603 - this Python and a file of the user's, no shell
                command,
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(root)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        printed, errors = process.communicate(timeout=_CHECK)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{scenario}: cannot be checked: no answer within {_CHECK:.0f} s") from None
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            process.communicate()
    return process.returncode, printed, errors
