"""What clock, calendar and the judging of gaps need of a scenario, of whichever kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from simulators.schema import Faults, Reboot, Shift


class Timed(Protocol):
    """A scenario's name, its beginning (UTC) and its length (ns)."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the fields of a scenario
    @property
    def epoch(self) -> datetime: ...  # noqa: D102
    @property
    def length(self) -> int: ...  # noqa: D102


class Shifted(Timed, Protocol):
    """A scenario with a shift calendar."""

    @property
    def time_zone(self) -> str: ...  # noqa: D102
    @property
    def shifts(self) -> Mapping[str, Shift]: ...  # noqa: D102


class Powered(Protocol):
    """A machine that may be without power."""

    @property
    def reboots(self) -> tuple[Reboot, ...]: ...  # noqa: D102


class Faulted(Protocol):
    """What happens to a plant that its events have to declare."""

    @property
    def machine(self) -> Powered: ...  # noqa: D102
    @property
    def faults(self) -> Faults: ...  # noqa: D102
