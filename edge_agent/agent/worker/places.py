"""Which worker reads which connection. One that stays as it is through a reload keeps its worker; others go where there is least."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edge_agent.agent.worker.process import Worker
from edge_agent.status.report import WorkerReport

Line = tuple[str, ...]
"""A connection, by the names of its devices."""


class Places:
    """The workers of one agent, at most ``most`` and never more than connections; with none the agent reads by itself."""

    def __init__(self, most: int) -> None:
        """Have nobody yet; `assign` makes them, and starts nothing."""
        self.workers: list[Worker] = []
        self._most = most
        self._of: dict[Line, Worker] = {}
        self._made = 0

    def assign(self, lines: Mapping[Line, int], kept: Collection[Line] = ()) -> None:
        """Give every one of ``lines``, each with its number of tags, a worker; ``kept`` stay where they are. Who has none left leaves `workers`."""
        stay = {line: worker for line, worker in self._of.items() if line in kept and line in lines}
        while len(self.workers) < min(self._most, len(lines)):
            self._made += 1
            self.workers.append(Worker(str(self._made)))
        carried = [sum(lines[line] + 1 for line, one in stay.items() if one is worker) for worker in self.workers]
        fresh = [line for line in lines if line not in stay]
        places = spread([lines[line] for line in fresh], carried)
        found = {line: self.workers[place] for line, place in zip(fresh, places, strict=True)} if self.workers else {}
        self._of = stay | found
        self.workers = [worker for worker in self.workers if worker in self._of.values()]

    def of(self, line: Line) -> Worker | None:
        """Return the worker of a connection; None where the agent reads by itself."""
        return self._of.get(line)

    def reports(self) -> list[WorkerReport]:
        """Return for people how each worker is, and what it reads."""
        return [
            WorkerReport(worker.name, worker.pid, worker.pid is not None, max(0, worker.starts - 1), self._devices(worker))
            for worker in self.workers
        ]

    def _devices(self, worker: Worker) -> list[str]:
        return [name for line, one in self._of.items() if one is worker for name in line]


def spread(weights: Sequence[int], carried: Sequence[int]) -> list[int]:
    """Return for each connection its place, so that all carry about the same; the heaviest first, where there is least.

    ``carried`` is what each place has already.
    """
    loads, out = list(carried) or [0], [0] * len(weights)
    for index in sorted(range(len(weights)), key=lambda index: -weights[index]):
        out[index] = loads.index(min(loads))
        loads[out[index]] += weights[index] + 1
    return out
