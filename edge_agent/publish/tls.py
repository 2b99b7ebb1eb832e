"""What went wrong on the way to a broker, in words for a person; and the password from its file."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

from edge_agent.model.errors import DisconnectedError
from edge_agent.model.tls import file_trouble
from edge_agent.publish.address import Broker
from edge_agent.publish.http import HttpError
from edge_agent.publish.websocket import HandshakeError

_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"}
)


def password(file: Path) -> str:
    """Return the password that stands in ``file``; raises DisconnectedError when it cannot be used or others can read it."""
    try:
        if os.name == "posix" and file.stat().st_mode & 0o007:  # elsewhere these bits say nothing
            raise DisconnectedError(f"password_file {file} can be read by everybody; chmod 600 {file}")
        return file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"password_file {file}: {file_trouble(error)}") from error


def dial_trouble(error: Exception, broker: Broker) -> str:
    """Return why no connection came up, naming the address and, for certificates, the reason."""
    if broker.encrypted and isinstance(error, ssl.SSLEOFError | ConnectionResetError):
        return f"{broker.where} hung up in the TLS handshake; is that its TLS port, and does it speak TLS 1.2 or newer?"
    return f"{broker.where} {_tls_trouble(error) if isinstance(error, ssl.SSLError) else tcp_trouble(error)}"


def _tls_trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"showed a certificate that is not accepted: {error.verify_message}"
    if error.reason in _NOT_TLS:
        return "does not speak TLS on this port; use its TLS port, or mqtt:// with allow_insecure"
    return f"refused the TLS handshake: {error.reason or error}"


def tcp_trouble(error: Exception) -> str:
    """Return why a host cannot be reached, or what it said instead of the right thing, to stand behind its address."""
    match error:
        case HttpError() | HandshakeError():
            return str(error)
        case socket.gaierror():
            return f"cannot be reached: the name is not known ({error.strerror})"
        case ConnectionRefusedError():
            return "refused the connection: nothing listens there"
        case TimeoutError():
            return "does not answer"
        case OSError():
            return f"cannot be reached: {error.strerror or str(error) or type(error).__name__}"
        case _:
            return f"cannot be reached: {error}"
