"""What a checker remembers of one connection of an edge node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Described:
    """The metrics that a birth named: datatype by name, name by alias, the value told last by name."""

    types: dict[str, int | None] = field(default_factory=dict)
    aliases: dict[int, str] = field(default_factory=dict)
    told: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    bdseq: int | None = None


@dataclass
class Session:
    """One connection; times are seconds of the recording."""

    link: int
    version: int = 0
    group: str = ""
    node: str = ""
    bdseq: int | None = None
    accepted: bool = False
    filters: dict[str, int] = field(default_factory=dict)
    born: bool = False
    dead: bool = False
    leaving: bool = False
    ended: bool = False
    seq: int | None = None
    node_metrics: Described | None = None
    devices: dict[str, Described] = field(default_factory=dict)
    aliases: dict[int, str] = field(default_factory=dict)
    host_online: bool = False
    host_time: int | None = None
    away: float | None = None
    stale_offline: float | None = None
    asked: float | None = None
    reborn: bool = False
    awaited: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Take an NBIRTH: everything is described anew."""
        self.born, self.dead = True, False
        self.devices, self.aliases = {}, {}
