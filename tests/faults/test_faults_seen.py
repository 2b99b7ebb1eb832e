"""How the bench reads the broker's ledger while the device and the links in the same process have to go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fault_seen import Seen


def line(number: int, size: int = 100) -> bytes:
    """Return a line of a ledger that is no event."""
    return json.dumps({"at": number, "what": "connect", "client": "x" * size}).encode() + b"\n"


async def test_a_long_ledger_is_read_in_pieces(tmp_path: Path) -> None:
    """While the ledger of many minutes is read, others in the process get their turn again and again."""
    path = tmp_path / "ledger"
    path.write_bytes(b"".join(map(line, range(10_000))))
    seen, turns = Seen(path), 0
    reading = asyncio.create_task(seen.catch_up())
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert [entry["at"] for entry in seen.entries] == list(range(10_000))
    assert turns > 10


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """What a broker has written half is left for the next time, and nothing is read twice; a line may be larger than a piece."""
    path = tmp_path / "ledger"
    path.write_bytes(line(1) + line(2)[:30])
    seen = Seen(path)
    assert not seen.read()
    assert [entry["at"] for entry in seen.entries] == [1]
    path.write_bytes(line(1) + line(2, 5_000) + line(3))
    while seen.read(64):
        pass
    assert [entry["at"] for entry in seen.entries] == [1, 2, 3]
