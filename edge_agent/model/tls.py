"""TLS from the files of a configuration, for whoever connects to something: brokers and Modbus/TCP Security.

TLS 1.2 or newer, certificate and name verified (IEC 62443-4-2 CR 3.1; MB-TCP-Security v21, 8); files are read at each connect, so new ones
count. A CA that is named is the only one believed: those of the system sign for everybody.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal, Protocol

from edge_agent.model.errors import DisconnectedError


class TlsFiles(Protocol):
    """What a configuration says about TLS."""

    @property
    def ca(self) -> Path | Literal["system"] | None:
        """Who signed the peer's certificate."""
        ...

    @property
    def cert(self) -> Path | None:
        """The agent's own certificate."""
        ...

    @property
    def key(self) -> Path | None:
        """The key of it."""
        ...

    @property
    def insecure(self) -> bool:
        """Believe any certificate."""
        ...


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for one connection; raises DisconnectedError naming the file that does not work."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if isinstance(files.ca, Path) else ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    try:
        if isinstance(files.ca, Path):
            made.load_verify_locations(cafile=files.ca)
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.ca {files.ca}: {file_trouble(error)}") from error
    try:
        if files.cert is not None:
            made.load_cert_chain(files.cert, files.key, password=_no_passphrase)
    except _PassphraseError as error:
        raise DisconnectedError(f"tls.key {files.key}: {error}") from error
    except (OSError, ValueError) as error:
        raise DisconnectedError(f"tls.cert {files.cert} with tls.key {files.key}: {file_trouble(error)}") from error
    return made


def file_trouble(error: Exception) -> str:
    """Return why a file could not be used, without its content."""
    if isinstance(error, ssl.SSLError):
        return f"is no PEM file that can be used ({error.reason or error})"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "is not text that can be used"


class _PassphraseError(ValueError):
    """A key that asks for what nobody can type."""


def _no_passphrase() -> str:
    """Answer instead of asking on a terminal that a service does not have."""
    raise _PassphraseError("it needs a passphrase, which a service cannot type; store it without one, readable by the agent alone")
