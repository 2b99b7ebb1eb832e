"""What the programs of a plant share: the scenario, the clock and the ledger, read from the same command line as the demo line's."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from simulators.clock import Clock, read_clock, start_clock
from simulators.command import refusals, until_signal
from simulators.ledger import Ledger
from simulators.plant.schema import PlantScenario
from simulators.plant.tracks import Plant
from simulators.scenario import ScenarioError, load_any


@dataclass(frozen=True)
class PlantStage:
    """What a program needs to play its part."""

    plant: Plant
    clock: Clock
    ledger: Ledger
    options: argparse.Namespace


def play(parser: argparse.ArgumentParser, part: Callable[[PlantStage], Awaitable[None]]) -> None:
    """Run a part until a signal ends it. Exit code 2 for a scenario or clock that cannot be used, 1 when port or ledger cannot be had."""
    options = parser.parse_args()
    with refusals(parser, options):
        scenario = load_any(options.scenario)
        if not isinstance(scenario, PlantScenario):
            raise ScenarioError(f"{options.scenario}: a scenario of version 2 is needed here")
        clock = start_clock(scenario, options.speed) if options.clock is None else read_clock(options.clock, scenario)
        with Ledger(options.ledger) as ledger:
            asyncio.run(until_signal(part(PlantStage(Plant(scenario), clock, ledger, options))))
