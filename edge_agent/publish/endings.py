"""What ended a connection, in words and as the error that whoever waits gets. Pure."""

from __future__ import annotations

from paho.mqtt.properties import Properties

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.pump import StrangeAnswerError
from edge_agent.publish.reasons import OtherVersionError, RefusedError, remedy, words
from edge_agent.publish.websocket import WebSocketError

_UNSUPPORTED_VERSION = 0x84


def broken(where: str, error: Exception) -> DisconnectedError:
    """Return what an exception out of the client means."""
    if isinstance(error, StrangeAnswerError):
        return DisconnectedError(f"{where} does not speak MQTT; check the port")
    if isinstance(error, WebSocketError):
        return DisconnectedError(f"{where} broke the WebSocket protocol: {error}")
    return DisconnectedError(f"{where} sent what the MQTT library cannot read ({type(error).__name__}: {error})")


def refused(where: str, code: int, properties: Properties | None, *, newest: bool) -> RefusedError:
    """Return what a CONNACK with a reason means; ``newest``: an older version of MQTT is left to be tried."""
    kind = OtherVersionError if code == _UNSUPPORTED_VERSION and newest else RefusedError
    detail = getattr(properties, "ReasonString", "") or getattr(properties, "ServerReference", "")
    return kind(f"{where} refused the connection: {words(code, detail)}{remedy(code, connecting=True)}", code=code)


def hung_up(where: str, code: int, properties: Properties | None) -> RefusedError:
    """Return what the broker's DISCONNECT (MQTT 5, 3.14) means."""
    detail = getattr(properties, "ReasonString", "")
    return RefusedError(f"{where} ended the connection: {words(code, detail)}{remedy(code)}", code=code)


def not_now(where: str, code: int) -> RefusedError:
    """Return what an acknowledgement with a reason means whose message is to be tried again."""
    return RefusedError(f"{where} refused a message for now: {words(code)}{remedy(code)}", code=code)


def unanswered(where: str, *, newest: bool) -> DisconnectedError:
    """Return what a broker means that closes instead of a CONNACK."""
    text = f"{where} closed the connection without an answer; check that it is an MQTT broker and who may connect"
    return OtherVersionError(text) if newest else DisconnectedError(text)


def closed(where: str, against: str) -> DisconnectedError:
    """Return what the end of an accepted connection without a word means; ``against`` = what is known against a message."""
    return DisconnectedError(f"{where} closed the connection{f' {against}' if against else ''}")
