"""The truth of a plant from the command line: ``python -m simulators.plant.show FILE`` prints it as JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from simulators.plant.check import as_json
from simulators.plant.schema import PlantScenario
from simulators.plant.tracks import Plant
from simulators.plant.truth import facts_of
from simulators.scenario import ScenarioError, load_any


def main() -> int:
    """Print the truth of a scenario of version 2; exit code 2 for one that cannot be played."""
    parser = argparse.ArgumentParser(prog="python -m simulators.plant.show", description="What a plant makes, as JSON.")
    parser.add_argument("file", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        scenario = load_any(options.file)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    if not isinstance(scenario, PlantScenario):
        print(f"{options.file}: a scenario of the demo line; python -m simulators.truth tells its truth", file=sys.stderr)
        return 2
    print(as_json(facts_of(Plant(scenario), 1.0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
