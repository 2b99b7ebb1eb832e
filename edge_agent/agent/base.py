"""From where another gateway could go on: for each unit a state all of whose events were delivered.

The newest state would not do: what it has counted may still wait in this gateway's buffer, and would be lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import structlog

from edge_agent.agent.origin import Resume, packed
from edge_agent.model.instant import iso
from edge_agent.ports import PlantClock

States = Callable[[], Mapping[str, bytes]]


class _Candidate:
    """A state that waits for the delivery of its events: up to number ``last``, which is known (None: not yet) after it was taken."""

    def __init__(self, states: States, about: Hashable, time: int) -> None:
        self.states, self.about, self.time = states, about, time
        self.epoch = ""
        self.last: int | None = None


class Bases:
    """The states that checkpoints carry, by unit."""

    def __init__(self, clock: PlantClock) -> None:
        """Start with none."""
        self._clock = clock
        self._candidates: dict[str, _Candidate] = {}
        self._bases: dict[str, tuple[int, _Candidate]] = {}
        self._resumes: dict[str, Resume] = {}
        self._told: set[str] = set()
        self._abouts: dict[str, Hashable] = {}

    def go_on(self, resumes: Mapping[str, Resume]) -> None:
        """Take over what the last checkpoints carried, where nothing newer is known."""
        self._resumes = {**resumes, **self._resumes}

    def forget(self, units: Iterable[str]) -> None:
        """Drop what is known of units that are gone."""
        for unit in units:
            for known in (self._candidates, self._bases, self._resumes, self._abouts):
                known.pop(unit, None)

    def propose(self, unit: str, states: States, about: Hashable) -> None:
        """Take the present state as the next base, unless one waits already. Asked before the stream's head is read.

        ``about`` is what is worth a checkpoint at once when it changes: a gateway that is lost right behind it shall not lose it.
        """
        if unit not in self._candidates:
            self._candidates[unit] = _Candidate(states, about, self._clock.now())

    def delivered(self, unit: str, epoch: str, last: int, published: int) -> None:
        """Note the head of the unit's stream in ``epoch`` and up to where it is delivered without a hole."""
        if (candidate := self._candidates.get(unit)) is None:
            return  # forgotten while the head was asked for
        if candidate.last is None or candidate.epoch != epoch:
            candidate.epoch, candidate.last = epoch, last
        if published >= candidate.last:
            self._bases[unit] = candidate.last, self._candidates.pop(unit)

    def news(self) -> bool:
        """Tell whether a unit has a base that is about something else than the last one that was packed."""
        return any(base.about != self._abouts.get(unit) for unit, (_, base) in self._bases.items())

    def packed(self, unit: str) -> Resume | None:
        """Return the base of a unit as it stands in its checkpoint, None before there is one or when it is too large."""
        if unit in self._bases:
            seq, base = self._bases.pop(unit)
            self._abouts[unit] = base.about
            resume = packed(seq, iso(base.time), base.states())
            if resume is not None:
                self._resumes[unit] = resume
            elif unit not in self._told:
                self._told.add(unit)
                structlog.get_logger().warning("checkpoint.too_large", unit=unit, meaning="another gateway cannot adopt this unit")
        return self._resumes.get(unit)
