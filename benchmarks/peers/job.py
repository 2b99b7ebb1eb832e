"""What every peer gets: a job, for which it writes its own configuration, and how it is installed, started and understood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workload import Load

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "peers"
"""Where peers are installed for the occasion; nothing of it is committed."""

Sample = tuple[str, Any, int]
"""Tag, value as it was told, and its time (UTC microseconds)."""


class NotInstalledError(Exception):
    """A peer cannot be had here; the text says why."""


@dataclass(frozen=True)
class Job:
    """What is to be collected, from where, to where. ``folder`` is the peer's own and outlives its being killed."""

    load: Load
    source: int
    broker: int
    folder: Path

    @property
    def period_ms(self) -> int:
        """Milliseconds between two samples of a tag."""
        return round(1000 / self.load.rate)


@dataclass(frozen=True)
class Command:
    """How a peer is started."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """One program that does the same job.

    ``write`` writes its configuration into the job's folder; ``parse`` takes a message's topic and payload apart; ``declared`` finds in its log
    what it says about samples that it lost (None: nothing). ``storage`` is what it keeps samples in while the broker is away.
    """

    key: str
    title: str
    storage: str
    install: Callable[[Path], str]
    write: Callable[[Job, Path], Command]
    parse: Callable[[str, bytes], list[Sample]]
    declared: Callable[[str], str | None]
    answer: Callable[[str, bytes], tuple[str, bytes] | None] = lambda *_: None
    """Where its server is more than a broker: what that answers to a message (topic and payload), if anything."""


def chunks(first: int, many: int, most: int) -> list[tuple[int, int]]:
    """Divide a row of registers into reads of at most so many: (address, count) of each."""
    return [(at, min(most, first + many - at)) for at in range(first, first + many, most)]
