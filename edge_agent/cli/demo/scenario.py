"""The scenario of a demo, checked before anything starts. The simulators check it: they are the ones who play it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.model.errors import ConfigError

_CHECK = 60.0


def checked(root: Path, scenario: Path) -> dict[str, Any]:
    """Return the scenario as its players understand it; raises ConfigError with every problem, its line and place.

    A program of its own, because nothing here imports the simulators; in a session of its own, because Ctrl-C is the demo's to answer.
    """
    done = subprocess.run(  # noqa: S603 - this Python and a file of the user's, no shell
        [sys.executable, "-m", "simulators.scenario", "--json", str(scenario)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CHECK,
        check=False,
        start_new_session=True,
    )
    if done.returncode == 0:
        script: dict[str, Any] = json.loads(done.stdout)
        return script
    said = done.stderr.strip().splitlines() or [f"the check ended with exit code {done.returncode}"]
    if done.returncode != 2:
        raise ConfigError(f"{scenario}: cannot be checked: {said[-1]}")
    count = f"{len(said)} problem{'s' if len(said) > 1 else ''} in the scenario"
    raise ConfigError("\n".join([*said, f"{count}; simulators/scenarios/line.yaml shows how one is written"]))
