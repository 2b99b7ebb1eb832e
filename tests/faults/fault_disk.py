"""What the cases about disks need: small disks that can be filled and mounted read-only, flags that switch a failpoint, figures of a process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_bench import Bench, until

from simulators.check import Verdict
from simulators.ledger import read_ledger

DOWN = 1.5
"""Machine seconds that a fault lasts."""
HEALED = 5.0
"""Machine seconds in which new data have to arrive when the disk is in order again."""


class Disk:
    """A file system in memory of its own."""

    def __init__(self, place: Path) -> None:
        """Stand for the file system mounted at ``place``."""
        self.place = place
        self._filler = place / "somebody_elses_file"

    def fill(self) -> None:
        """Let somebody else take all the room there is."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def remount(self, word: str) -> None:
        """Mount it ``ro`` or ``rw``; nobody may have a file open for writing."""
        subprocess.run(["mount", "-o", f"remount,{word}", str(self.place)], check=True)


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Disk]:
    """Mount a file system of ``size``; the case is not run, with the reason, where that is not allowed."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a file system of its own needs the right to mount one: {done.stderr.strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def size_of(folder: Path) -> int:
    """Return the bytes of all files of a store."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


async def api(made: Bench) -> dict[str, Any]:
    """Return what the agent's local API says of the agent."""
    reader, writer = await asyncio.open_unix_connection(made.store / "gw1.sock")
    try:
        writer.write(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], head
        return json.loads(body)
    finally:
        writer.close()


def announced(made: Bench) -> list[dict[str, Any]]:
    """Return the agent's retained statuses, in the order the broker got them."""
    from simulators.broker_ledger import payload_of

    return [
        json.loads(payload_of(entry))
        for entry in made.ledger()
        if entry["what"] == "publish" and entry["topic"].endswith("/gw1/status")
    ]


def spacing(made: Bench, since: float) -> list[float]:
    """Return the times between polls that showed something new, in seconds, sorted; from ``since`` (seconds of the device's clock) on."""
    times = [
        entry["t"] for entry in read_ledger(made.folder / "generator.jsonl") if entry["what"] == "read" and entry["t"] >= since
    ]
    return sorted(later - earlier for earlier, later in itertools.pairwise(times))


def written(made: Bench) -> int:
    """Return how many bytes the agent has handed to storage so far."""
    for line in Path(f"/proc/{made.agent.pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise AssertionError(os.uname())


def flagged(folder: Path, *names: str) -> tuple[Path, dict[str, str]]:
    """Return the file that switches the failpoints on, and the environment that names them."""
    flag = folder / "flag"
    return flag, {"EDGE_AGENT_FAILPOINT": ";".join(f"{name}:while={flag}" for name in names)}


async def critical(made: Bench) -> None:
    """Wait until both the local API and the retained status say that the store is out of order."""
    await until(lambda: any(status.get("health") == "critical" for status in announced(made)), 5)
    assert (await api(made))["health"] == "critical"


async def starts_critical(made: Bench) -> None:
    """Start the agent without a store: as soon as it runs it says so, and seconds later its status does; how long an interpreter takes is not judged."""
    lines, before = len(made.log()) if made.agent.log.exists() else 0, len(announced(made))
    await made.agent.start()
    await until(lambda: any(line["event"] == "buffer.degraded" for line in made.log()[lines:]), 30)
    await until(lambda: any(status.get("health") == "critical" for status in announced(made)[before:]), 10)


async def healthy(made: Bench) -> None:
    """Wait until the retained status says that the store is in order again."""
    await until(lambda: announced(made)[-1].get("health") == "ok", HEALED)


def nothing_lost(verdict: Verdict) -> None:
    """No part and no number is missing, not even declared."""
    assert sum(each.declared_lost for each in (*verdict.sources, *verdict.streams)) == 0


async def hurt(made: Bench, flag: Path) -> None:
    """Let the fault last a while and pass."""
    flag.touch()  # noqa: ASYNC240 - a name in a directory of the test
    await critical(made)
    await asyncio.sleep(DOWN)
    flag.unlink()  # noqa: ASYNC240
    await made.fresh(HEALED)
    await healthy(made)
