"""What the bench has read of the broker's ledger while the run goes on."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from typing import Any

from simulators.check_records import Arrival, arrivals

_PIECE = 65_536
_MANY = 2_000
"""Lines after which what is kept is no longer looked at by the garbage collector: a full round over an hour's lines stops the process for a second."""


class Seen:
    """Reads the ledger as it grows and keeps all of it: ``entries``, and the numbered ``events`` among them."""

    def __init__(self, path: Path) -> None:
        """Begin before the first line of ``path``."""
        self.entries: list[dict[str, Any]] = []
        self.events: list[Arrival] = []
        self._path = path
        self._place = 0
        self._young = 0

    def read(self, most: int = -1) -> bool:
        """Take in the whole lines that are new, of ``most`` bytes at the most; return whether there is more to read at once."""
        with self._path.open("rb") as file:
            file.seek(self._place)
            raw = file.read(most)
            full = len(raw) == most
            if full and b"\n" not in raw:
                raw += file.readline()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._place += len(whole)
        new = [json.loads(line) for line in whole.splitlines()]
        self.entries += new
        self.events += arrivals(new)[0]
        self._young += len(new)
        if self._young > _MANY:
            self._young = 0
            gc.freeze()
        return full

    async def catch_up(self) -> None:
        """Read all in small pieces with time for others between them.

        The device and the links live in this process: while it reads the ledger of minutes at a stretch, the agent sees a device and a broker that hang.
        """
        while self.read(_PIECE):  # noqa: ASYNC110 - it is the reading that takes time, and nobody else knows of its end
            await asyncio.sleep(0)
