"""TLS from files for Modbus/TCP Security, and what went wrong with it in words for a person.

TLS 1.2 or newer (MB-TCP-Security v21, 8), certificate and name verified unless ``insecure`` says otherwise; files are read at each connect.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from edge_agent.drivers.modbus.connection import TlsConfig
from edge_agent.model.errors import DisconnectedError

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"})


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context for one connection; raises DisconnectedError naming the file that does not work."""
    made = ssl.create_default_context() if config.ca in {"system", None} else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        if isinstance(config.ca, Path):
            made.load_verify_locations(cafile=config.ca)
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.ca {config.ca}: {_file_trouble(error)}") from error
    try:
        if config.cert is not None:
            made.load_cert_chain(config.cert, config.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.cert {config.cert} with tls.key {config.key}: {_file_trouble(error)}") from error
    return made


def tls_trouble(where: str, error: ssl.SSLError) -> str:
    """Return why the handshake failed, and what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} showed a certificate that is not accepted: {error.verify_message}; look at tls.ca and tls.server_name"
    if error.reason in _NOT_TLS:
        return f"{where} does not speak TLS; is it the port of Modbus/TCP Security (802)?"
    return f"{where} refused the TLS handshake ({error.reason or error}); does it ask for tls.cert, and know who signed it?"


def _file_trouble(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"is no PEM file that can be used ({error.reason or error})"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _no_passphrase() -> str:
    """Answer instead of asking on a terminal that a service does not have."""
    raise ValueError("the key needs a passphrase, which a service cannot type; store it without one, readable by the agent alone")
