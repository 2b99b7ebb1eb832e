"""Telling systemd how the service does: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3)); silent when systemd did not start it."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Send ``lines`` (``READY=1``, ``STATUS=3/3 devices``) to systemd; does nothing without NOTIFY_SOCKET.

    A supervisor that went away is not our fault to report: the datagram is dropped.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.connect(address)
            peer.sendall("\n".join(lines).encode())
        except OSError:
            return


def watchdog_seconds() -> float | None:
    """Return how often systemd wants a sign of life (half of WATCHDOG_USEC), None when it does not watch this process."""
    usec, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not usec or not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2e6
