"""How much of everything: the minutes of every change, and the hour of a night."""

from __future__ import annotations

from typing import NamedTuple


class Job(NamedTuple):
    """One stage: so many trials, or so many minutes; ``alone``: when all others are over, for it measures times."""

    stage: str
    trials: int = 0
    minutes: float = 0.0
    alone: bool = False


SHORT = (
    Job("chaos", minutes=3.0),
    Job("cases"),
    Job("images", 10_000),
    Job("agent-kills", 60),
    Job("random", 20),
    Job("bugs", 6),
    Job("kills", 400),
    Job("disk", 10),
    Job("backlog", 50_000, alone=True),
)
"""The longest first, so that the lanes end together, and early what only computes; a lane with nothing left to do takes over written cases."""

LONG = (
    Job("chaos", minutes=45.0),
    Job("soak", minutes=45.0),
    Job("images", 200_000),
    Job("random", 300),
    Job("agent-kills", 500),
    Job("disk", 100),
    Job("kills", 5_000),
    Job("cases"),
    Job("bugs", 99),
    Job("seeded"),
    Job("backlog", 1_000_000, alone=True),
)
