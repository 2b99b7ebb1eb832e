"""What ``edge-agent init`` does in which order, and what it says."""

from __future__ import annotations

from pathlib import Path

from edge_agent import logs
from edge_agent.cli import allowlist
from edge_agent.cli.init import Wish, init, next_steps
from edge_agent.config.load import load


def begin(wish: Wish, *, systemd: bool, drop_in: Path | None) -> None:
    """Write the configuration, unless there is one and only the drop-in is wanted; then the drop-in. Raises EdgeAgentError."""
    logs.configure("error")
    if not (systemd and (wish.folder / "agent.yaml").exists()):
        written = init(wish)
        print(f"written in {wish.folder}:")
        print("\n".join(f"  {name}" for name in written))
        print("next:")
        print(next_steps(wish.folder))
    if systemd:
        file = allowlist.write(load(wish.folder), drop_in or allowlist.FOLDER)
        print(f"{file}: the service may speak to these addresses only; systemctl daemon-reload && systemctl restart edge-agent")
