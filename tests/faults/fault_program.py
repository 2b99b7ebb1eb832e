"""Programs of ours as processes of the bench."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A program of ours with its output in a file; ``root`` = the sources it runs, ``more`` = its environment beside ours."""

    def __init__(self, name: str, log: Path, *arguments: str, root: Path = ROOT, **more: str) -> None:
        self.name, self.log, self._arguments, self._root, self.environment = name, log, arguments, root, more
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; output is appended."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.name,
                *self._arguments,
                cwd=self._root,
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
            )

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 20)

    async def wait(self) -> int:
        """Return its exit code when it ends by itself."""
        assert self._process is not None
        return await self._process.wait()

    async def ended(self, within: float = 20) -> int:
        """Wait until it ends by itself and return the exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), within)

    async def kill(self) -> None:
        """End it if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid
