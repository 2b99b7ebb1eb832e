"""Run edge-agent as on a machine without what only UNIX has: modules that cannot be imported, functions and constants that are not there.

A program: ``python as_windows.py VERB ...``. It cannot make this machine a Windows; it shows each verb that reaches for what is missing there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from typing import Any

MODULES = {"fcntl", "grp", "pwd", "resource", "systemd", "termios", "tty", "uvloop"}
NAMES = {
    os: "chown fchmod fchown fork geteuid getegid getgid getuid seteuid setegid statvfs sync O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK ST_RDONLY",
    socket: "SOCK_CLOEXEC SOCK_NONBLOCK",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGWINCH",
}


class _Missing:
    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _no_handler(*_: Any) -> None:
    raise NotImplementedError


def take_away() -> None:
    """Take it away from here on; the standard library, which has its own ways on Windows, was loaded with it."""
    assert asyncio
    assert subprocess
    assert tempfile
    for module in MODULES:
        sys.modules.pop(module, None)
    sys.meta_path.insert(0, _Missing())  # type: ignore[arg-type]
    asyncio.SelectorEventLoop.add_signal_handler = _no_handler  # type: ignore[assignment,method-assign]
    for place, names in NAMES.items():
        for name in names.split():
            if hasattr(place, name):
                delattr(place, name)


if __name__ == "__main__":
    take_away()
    from edge_agent.cli import main

    sys.argv[0] = "edge-agent"
    main()
