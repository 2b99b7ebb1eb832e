"""Who is measured, in the order of the table."""

from __future__ import annotations

from benchmarks.peers import edge, nodered, telegraf, thingsboard
from benchmarks.peers.job import Peer

PEERS: dict[str, Peer] = {peer.key: peer for peer in (edge.PEER, telegraf.MEMORY, telegraf.DISK, nodered.PEER, thingsboard.PEER)}
