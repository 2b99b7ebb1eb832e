"""Load a scenario file and check it: ``python -m simulators.scenario FILE`` prints every problem with its line and place, exit code 2.

A file without one is exit code 0, and with ``--json`` the scenario as JSON, as every program of a run is to understand it: ``epoch`` in UTC.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from simulators.coherence import incoherences
from simulators.plant.coherence import oddities
from simulators.plant.schema import PlantScenario
from simulators.schema import Scenario
from simulators.vocabulary import MODES, SECOND, STATES

__all__ = ["MODES", "SECOND", "STATES", "Scenario", "ScenarioError", "load_any", "load_scenario", "parse_scenario"]


class ScenarioError(ValueError):
    """A scenario cannot be played; the message lists every problem as ``file:line: place: what``, one a line."""


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario file; `ScenarioError` lists all problems at once."""
    scenario = load_any(path)
    if isinstance(scenario, PlantScenario):
        raise ScenarioError(f"{path}:1: version: a scenario of the demo line (version 1) is needed here")
    return scenario


def load_any(path: Path) -> Scenario | PlantScenario:
    """Read and check a scenario of either version; `ScenarioError` lists all problems at once."""
    return _load(path)[0]


def parse_scenario(raw: Any, name: str) -> Scenario:
    """Check a scenario that is in memory already; ``name`` stands before each problem."""
    scenario = _checked(raw, lambda _: name)
    if isinstance(scenario, PlantScenario):
        raise ScenarioError(f"{name}: version: a scenario of the demo line (version 1) is needed here")
    return scenario


def _load(path: Path) -> tuple[Scenario | PlantScenario, Any]:
    """Return the scenario, and the file's data."""
    try:
        text = path.read_text(encoding="utf-8")
        raw: Any = YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ScenarioError(f"{path}{line}: {': '.join(filter(None, (error.context, error.problem)))}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    return _checked(raw, lambda place: f"{path}:{_line(text, place)}"), raw


def _checked(raw: Any, where: Callable[[str], str]) -> Scenario | PlantScenario:
    plant = isinstance(raw, dict) and raw.get("version") == 2
    try:
        scenario = (PlantScenario if plant else Scenario).model_validate(raw)
    except ValidationError as error:
        found = [f"{_place(one['loc'])}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
    else:
        found = list(oddities(scenario) if isinstance(scenario, PlantScenario) else incoherences(scenario))
        if not found:
            return scenario
    raise ScenarioError("\n".join(f"{where(problem.partition(': ')[0])}: {problem}" for problem in found))


def _place(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "file"


def _line(text: str, place: str) -> int:
    """Give the line (from 1) of a place like ``machine.states[2]``, or of the nearest thing around it that the file has."""
    node: Node | None = YAML(pure=True).compose(text)
    line = 1
    for step in re.findall(r"[^.\[\]]+", place):
        if isinstance(node, MappingNode):
            pair = next(((key, value) for key, value in node.value if str(key.value) == step), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def main() -> int:
    """Check a file from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulators.scenario", description="Check a scenario file.")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the scenario as JSON")
    options = parser.parse_args()
    try:
        scenario, raw = _load(options.file)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(raw | {"epoch": scenario.epoch.isoformat().replace("+00:00", "Z")}))
    else:
        print(f"{options.file}: fine. {scenario.name}, {scenario.length / SECOND:g} s from {scenario.epoch.isoformat()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
