"""TLS from files, and what went wrong on the way to a broker in words for a person.

TLS 1.2 or newer, certificate and host name verified (IEC 62443-4-2 CR 3.1); files are read at each connect, so new ones count.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.address import Broker
from edge_agent.publish.config import TlsConfig
from edge_agent.publish.http import HttpError
from edge_agent.publish.websocket import HandshakeError

_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"}
)


def context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context for one connection; raises DisconnectedError naming the file that does not work."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        if isinstance(config.ca, Path):
            made.load_verify_locations(cafile=config.ca)
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.ca {config.ca}: {file_trouble(error)}") from error
    try:
        if config.cert is not None:
            made.load_cert_chain(config.cert, config.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.cert {config.cert} with tls.key {config.key}: {file_trouble(error)}") from error
    return made


def password(file: Path) -> str:
    """Return the password that stands in ``file``; raises DisconnectedError when it cannot be used or others can read it."""
    try:
        if file.stat().st_mode & 0o007:
            raise DisconnectedError(f"password_file {file} can be read by everybody; chmod 600 {file}")
        return file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"password_file {file}: {file_trouble(error)}") from error


def file_trouble(error: Exception) -> str:
    """Return why a file could not be used, without its content."""
    if isinstance(error, ssl.SSLError):
        return f"is no PEM file that can be used ({error.reason or error})"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "is not text that can be used"


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


def _no_passphrase() -> str:
    """Answer instead of asking on a terminal that a service does not have."""
    raise ValueError("the key needs a passphrase")
