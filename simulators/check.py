"""The independent checker of the ledger equation: ``python -m simulators.check --broker LEDGER [--store FOLDER] [--produced LEDGER]``.

    produced = delivered_unique + declared_lost + still_buffered

for each stream (numbers) and, with a generator's ledger, for each counter at its source (changes). Nothing missing undeclared, invented,
corrupted, out of order after dropping repetitions, or counted twice; at most W repetitions for each reconnection, and W and what a
commit takes along for each restart of the agent; no gap for a reason that was not injected, or far longer than what was. It shares no code with the agent. Run it when
the agent has ended. Exit code 1 on a violation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from simulators.check_gaps import Cause, too_long
from simulators.check_records import Arrival, Held, StoreView, arrivals, read_store
from simulators.check_sources import SourceVerdict, judge_counter, shown
from simulators.check_streams import StreamVerdict, judge_stream
from simulators.ledger import read_ledger

_COMMIT = 500
"""Deliveries that a kill can undo: the default ``max_batch``, at which a commit no longer waits."""


@dataclass
class Verdict:
    """The judgement of a run."""

    streams: list[StreamVerdict] = field(default_factory=list)
    sources: list[SourceVerdict] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)
    connections: int = 0
    bound: int = 0

    @property
    def duplicates(self) -> int:
        """Repetitions over all streams that nobody asked for."""
        return sum(each.duplicates for each in self.streams)

    @property
    def problems(self) -> list[str]:
        """Return one line for each kind of violation."""
        found = [f"stream {each.stream} ({each.epoch}): {each.violations}" for each in self.streams if each.violations]
        found += [f"counter {each.counter}: {each.violations}" for each in self.sources if each.violations]
        found += [f"corrupted: {each}" for each in self.unreadable]
        found += [f"declared without an injected cause: {each}" for each in self.unexplained]
        found += [f"declared far longer than its cause: {each}" for each in self.too_long]
        if self.duplicates > self.bound:
            found.append(f"{self.duplicates} duplicates, at most {self.bound} for {self.connections} connections")
        return found

    def lines(self) -> Iterable[str]:
        """Yield the equation of each stream and counter, and the problems."""
        for each in self.streams:
            yield f"stream {each.stream} {each.epoch}: {_equation(each)}, {each.duplicates} duplicates"
        for source in self.sources:
            yield f"counter {source.counter}: {_equation(source)}"
        yield from (f"VIOLATION {problem}" for problem in self.problems)
        yield f"{self.duplicates} duplicates removed of at most {self.bound}: {'FAILED' if self.problems else 'balanced'}"


def _equation(each: StreamVerdict | SourceVerdict) -> str:
    return f"{each.produced} produced = {each.delivered_unique} delivered + {each.declared_lost} declared lost + {each.still_buffered} buffered"


def judge(
    broker: list[dict[str, Any]],
    store: StoreView | None = None,
    produced: Iterable[dict[str, Any]] = (),
    *,
    window: int = 20,
    restarts: int = 0,
    reasons: frozenset[str] = frozenset(),
    causes: Sequence[Cause] = (),
) -> Verdict:
    """Judge a run by its ledgers. ``reasons`` = gap reasons that the injected faults explain; ``restarts`` of the agent, by a kill.

    ``causes`` = when they were, where that is known: a gap of such a reason may not last far longer.
    """
    came, unreadable = arrivals(broker)
    held = [] if store is None else store.records
    verdict = Verdict(unreadable=unreadable)
    heads = {} if store is None else store.heads
    for name, epoch in sorted({*heads, *((each.stream, each.epoch) for each in came)}):
        mine = [each for each in came if (each.stream, each.epoch) == (name, epoch)]
        kept = [each for each in held if (each.stream, each.epoch) == (name, epoch)]
        verdict.streams.append(judge_stream(name, epoch, mine, kept, heads.get((name, epoch)), window))
    for counter, values in shown(produced).items():
        verdict.sources.append(judge_counter(counter, values, came, held))
    senders = {entry["client"] for entry in broker if entry["what"] == "publish"}
    verdict.connections = sum(entry["what"] == "connect" and entry["code"] == 0 and entry["client"] in senders for entry in broker)
    verdict.bound = window * max(0, verdict.connections - 1) + restarts * (window + _COMMIT)
    verdict.too_long = too_long([*came, *held], causes)
    verdict.unexplained = sorted(_unexplained(came, held, reasons))
    return verdict


def _unexplained(came: Iterable[Arrival], held: Iterable[Held], reasons: frozenset[str]) -> set[str]:
    everything: list[Arrival | Held] = [*came, *held]
    gaps = [each for each in everything if each.type.endswith("collection.gap.v1")]
    return {f"{each.stream} {each.seq}: {each.data['reason']}" for each in gaps if each.data["reason"] not in reasons}


def main() -> int:
    """Judge from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulators.check", description="Check the ledger equation of a run.")
    parser.add_argument("--broker", type=Path, required=True, metavar="FILE", help="the ledger broker's ledger")
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="the buffer of the agent, which has ended")
    parser.add_argument("--produced", type=Path, action="append", default=[], metavar="FILE", help="a generator's ledger")
    parser.add_argument("--window", type=int, default=20, help="the agent's window W")
    parser.add_argument("--restarts", type=int, default=0, help="kills of the agent")
    parser.add_argument("--reason", action="append", default=[], help="a gap reason that an injected fault explains")
    options = parser.parse_args()
    try:
        verdict = judge(
            read_ledger(options.broker),
            None if options.store is None else read_store(options.store),
            [entry for path in options.produced for entry in read_ledger(path)],
            window=options.window,
            restarts=options.restarts,
            reasons=frozenset(options.reason),
        )
    except OSError as error:
        print(f"{error.filename}: cannot be read: {error.strerror}", file=sys.stderr)
        return 2
    except (ValueError, apsw.Error) as error:
        print(f"a ledger or the store is not what it should be: {error}", file=sys.stderr)
        return 2
    for line in verdict.lines():
        print(line)
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
