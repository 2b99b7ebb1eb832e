"""Log lines as journald's own entries: name and values of a line are fields that `journalctl FIELD=VALUE` finds (systemd.journal-fields(7), Native Journal Protocol)."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Final

_SOCKET: Final = "/run/systemd/journal/socket"
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Z0-9_]")
_OWN: Final = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EDGE_AGENT_EVENT"}


class Journal:
    """What structlog writes to: one datagram per line, or a line on stderr where journald does not take it."""

    def __init__(self, path: str = _SOCKET) -> None:
        """Send to ``path``; nothing is opened that could block."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def msg(self, message: str, *, priority: int, name: str, values: Mapping[str, Any]) -> None:
        """Write one line called ``name``: ``message`` in words, ``priority`` as in syslog(3), ``values`` as fields of their own."""
        try:
            self._socket.sendto(entry(message, priority, name, values), self._path)
        except OSError:  # no journald, full, or too long a line: stderr leads to the journal as well
            with contextlib.suppress(OSError):
                sys.stderr.write(f"<{priority}>{message}\n")
                sys.stderr.flush()

    def close(self) -> None:
        """Write nothing more."""
        self._socket.close()

    debug = info = warning = error = critical = exception = fatal = log = msg


def entry(message: str, priority: int, name: str, values: Mapping[str, Any]) -> bytes:
    """Return one entry; a field's name has capitals, digits and underscores only, and begins with a letter."""
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "edge-agent", "EDGE_AGENT_EVENT": name}
    for key, value in values.items():
        field = _NOT_IN_A_NAME.sub("_", key.upper()).lstrip("_0123456789")[:64]
        if field and field not in _OWN:
            fields[field] = value if isinstance(value, str) else str(value)
    return b"".join(_field(field, value.encode("utf-8", "replace")) for field, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    """Return one field; one with a line break goes with its length, so that no value can forge another field."""
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(value)), value)
