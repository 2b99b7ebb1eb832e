"""A real browser for tests: a node process that drives Chromium and is told what to do line by line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_LINE = 1 << 24


def chromium() -> str | None:
    """Return Chromium's program, None where there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of one browser."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speak to ``process``."""
        self._process = process

    async def heard(self) -> Any:
        """Return the next answer; fails with what went wrong."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["ok"]

    async def do(self, verb: str, **rest: Any) -> Any:
        """Have one thing done and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, **rest}).encode() + b"\n")
        return await self.heard()


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start a browser, and end it."""
    environment = os.environ | {"CHROMIUM": str(chromium())}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / "browser.js"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        limit=_LINE,
    )
    made = Browser(process)
    try:
        await made.heard()
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
