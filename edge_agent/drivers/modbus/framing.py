"""The framings a request can travel in: how one is checked before it leaves, and how its answer is judged (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from edge_agent.drivers.modbus import frames, identification, serialframes
from edge_agent.drivers.modbus.connection import ConnectionConfig
from edge_agent.drivers.modbus.frames import Request


class Framing(NamedTuple):
    """``sent`` reads an outgoing request, ``complete`` judges what came back; ``numbered``: an answer carries the number of its request."""

    name: Literal["tcp", "rtu", "ascii"]
    sent: Callable[[bytes], Request]
    complete: Callable[[bytes, Request | None], bool]
    numbered: bool


def _complete(data: bytes, request: Request | None) -> bool:
    """Judge a reply over TCP, also one that says who the device is."""
    if request is not None and request.function == identification.FUNCTION:
        return identification.complete(data, request)
    return frames.complete(data, request)


def _complete_without_number(data: bytes, request: Request | None) -> bool:
    """Judge a reply of a gateway that sets every transaction number to 0; the right number passes too."""
    if request is not None and data[:2] in {b"\0", b"\0\0"}:
        request = request._replace(transaction=0)
    return _complete(data, request)


TCP: Final = Framing("tcp", frames.sent, _complete, numbered=True)
TCP_UNNUMBERED: Final = Framing("tcp", frames.sent, _complete_without_number, numbered=False)
RTU: Final = Framing("rtu", serialframes.rtu_sent, serialframes.rtu_complete, numbered=False)
ASCII: Final = Framing("ascii", serialframes.ascii_sent, serialframes.ascii_complete, numbered=False)


def framing_of(config: ConnectionConfig) -> Framing:
    """Return the framing that a device is spoken to in."""
    if config.spoken == "tcp":
        return TCP_UNNUMBERED if "tid_zero" in config.quirks else TCP
    return RTU if config.spoken == "rtu" else ASCII
