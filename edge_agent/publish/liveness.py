"""Whether the peer lives: what it said, and whether what we say still gets through. Pure but for one look at the socket.

A line of 1 KB/s is slow, not dead: while our bytes are being taken, an answer may be late. A peer that takes everything and answers
nothing is dead, and so is one that takes no more.
"""

from __future__ import annotations

import socket
import struct
import sys

_UNACKED, _ACKED, _RECEIVED = 24, 120, 128
"""Offsets in struct tcp_info (linux/tcp.h, since 4.1): segments on the way, bytes acknowledged by the peer, bytes received."""


class Traffic:
    """What the kernel counts for one TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._linux = sys.platform == "linux"

    def look(self) -> tuple[int, int, bool] | None:
        """Return bytes received, bytes of ours that arrived, and whether more are on the way; None where the kernel does not tell."""
        if not self._linux:
            return None
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        except OSError:  # closed meanwhile; whoever reads it says so
            return None
        if len(info) < _RECEIVED + 8:
            return None
        (unacked,) = struct.unpack_from("=I", info, _UNACKED)
        acked, received = struct.unpack_from("=QQ", info, _ACKED)
        return received, acked, unacked > 0


class Liveness:
    """Judges the silence of a peer by what `Traffic.look` returned; times are machine seconds."""

    def __init__(self, now: float) -> None:
        self.heard = now
        """When the peer said something, or was still busy taking what we say."""
        self.took = now
        """When the peer was seen taking bytes with more on the way."""
        self._received = 0
        self._acked = 0

    def see(self, seen: tuple[int, int, bool] | None, now: float) -> None:
        """Take one look in."""
        if seen is None:
            return
        received, acked, more = seen
        if received != self._received:
            self.heard = now
        if acked != self._acked and more:
            self.heard = self.took = now
        self._received, self._acked = received, acked

    def silent(self, now: float) -> float:
        """Return for how many seconds nothing came and nothing moved."""
        return now - self.heard
