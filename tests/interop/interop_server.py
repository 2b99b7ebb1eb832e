"""node-opcua's servers as processes: what all tests against them share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NEEDS = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not (FOLDER / "node_modules").exists(), reason="node-opcua is not installed (make interop installs it)"),
]
"""The marks of a test file that needs one of them."""


class WallClock:
    """The plant clock of a real plant."""

    speed = 1.0

    def now(self) -> int:
        return time.time_ns()

    async def sleep_until(self, time_: int) -> None:
        await asyncio.sleep(max(0, (time_ - time.time_ns()) / 1e9))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def running(script: str, home: Path, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of the servers beside this file, with a folder for its keys, from when it is ready until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        "node", script, *map(str, arguments), cwd=FOLDER, env=os.environ | {"INTEROP_HOME": str(home)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(90):
            await said(process, "ready")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, word: str) -> str:
    """Return the next line that begins with a word; the server says other things too."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.startswith(word):
            return line.strip()
    raise AssertionError(f"the server ended before it said {word}")
