"""Where the agent's socket is: the runtime directory that systemd made, else the directory of the buffer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SERVICE = Path("/run/edge-agent")
"""What ``RuntimeDirectory=edge-agent`` makes: where a person's command looks for the service."""

_LONGEST = 100
"""Bytes of a socket's path that fit into sockaddr_un on every Linux (108, with room for the terminating zero)."""


def socket_of(agent: str, buffer: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the agent of this name listens."""
    runtime = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return (Path(runtime) if runtime else buffer) / f"{agent}.sock"


def candidates(agent: str, buffer: Path, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where a command looks for the agent's socket, in this order."""
    name = f"{agent}.sock"
    return list(dict.fromkeys((socket_of(agent, buffer, environment), buffer / name, _SERVICE / name)))


@contextmanager
def address(path: Path) -> Iterator[str]:
    """Give an address for ``path`` that fits into a socket address however long the path is. Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
