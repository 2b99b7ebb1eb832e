"""How the benchmark's programs talk to whoever started them: a line in is a question, a line out the answer, the end of the input the end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any


async def until_told(figures: Callable[[], dict[str, Any]]) -> None:
    """Print ``figures`` for every line on the standard input; return when it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(json.dumps(figures()), flush=True)
