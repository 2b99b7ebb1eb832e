"""What went wrong with Modbus/TCP Security, in words for a person."""

from __future__ import annotations

import ssl
from typing import Final

_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"})


def tls_trouble(where: str, error: ssl.SSLError) -> str:
    """Return why the handshake failed, and what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{where} showed a certificate that is not accepted: {error.verify_message}; look at tls.ca and tls.server_name"
    if error.reason in _NOT_TLS:
        return f"{where} does not speak TLS; is it the port of Modbus/TCP Security (802)?"
    return f"{where} refused the TLS handshake ({error.reason or error}); does it ask for tls.cert, and know who signed it?"
