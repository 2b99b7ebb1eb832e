"""The agent's configuration on the bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WINDOW = 20
"""The agent's window: what may be on its way unacknowledged."""


def config(
    folder: Path, device: int, port: int, names: Sequence[str], buffer: dict[str, Any], timeout: str, **mqtt: Any
) -> dict[str, Any]:
    """Return an agent's configuration with times that are short enough for a test; ``timeout`` = of the device."""
    about = {"keepalive": "2s", "ack_timeout": "1s", "connect_timeout": "1s", "window": WINDOW, "allow_insecure": True}
    return {
        "version": 1,
        "agent": "gw1",
        "site": ["acme", "plant1"],
        "mqtt": {"broker": f"mqtt://127.0.0.1:{port}", **about, **mqtt},
        "buffer": {"path": str(folder / "buffer"), "min_free": 0, **buffer},
        "devices": [
            {
                "version": 1,
                "device": "gen",
                "driver": "modbus",
                "host": "127.0.0.1",
                "port": device,
                "unit_id": 1,
                "poll": "50ms",
                "timeout": timeout,
                "tags": {name: {"register": "holding", "address": 2 * at, "type": "uint32"} for at, name in enumerate(names)},
            }
        ],
        "units": [
            {
                "version": 1,
                "unit": "filler",
                "path": ["acme", "plant1", "line1"],
                "counters": {
                    name: {"tag": f"gen.{name}", "role": "total", "wraps": "uint32", "max_rate": "1000/s"} for name in names
                },
            }
        ],
    }
