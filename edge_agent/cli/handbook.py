"""``edge-agent docs``: where the handbook is that came with this installation."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from edge_agent.model.errors import EdgeAgentError

HANDBOOK = Path(__file__).resolve().parents[1] / "handbook"
"""Built by ``make docs`` before a wheel is; a checkout has none until then."""


def handbook(*, show: bool, folder: Path = HANDBOOK) -> None:
    """Print the handbook's first page, and with ``show`` open it in a browser. Raises EdgeAgentError when there is none."""
    first = folder / "docs" / "index.html"
    if not first.is_file():
        raise EdgeAgentError(
            "this installation has no handbook; in a checkout `make docs` builds it, and the folder docs/ has the same as text"
        )
    print(first)
    if show and not webbrowser.open(first.as_uri()):
        raise EdgeAgentError(
            f"no browser could be started here; open {first} in one, or copy the folder {folder} to a machine that has one"
        )
