"""Commands of edge-agent, run as a user runs them while the bench stands."""

from __future__ import annotations

import asyncio
import sys

from fault_bench import ROOT


async def edge_agent(*arguments: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge_agent", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode is not None
    return process.returncode, out.decode()
