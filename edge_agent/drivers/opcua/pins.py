"""The trust folder: which certificate each server is known by, the current one and the next. Only a person puts one there.

``<folder>/trusted/<host>_<port>/current.der`` and ``next.der`` hold the certificates themselves, DER or PEM; the pin is their SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from edge_agent.drivers.opcua.certificate import Certificate, UntrustedError, read
from edge_agent.model.errors import EdgeAgentError

Slot = Literal["current", "next"]

_PORT: Final = 4840
_CLOSED: Final = getattr(os, "O_CLOEXEC", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
"""Windows has no O_CLOEXEC (it hands no file on by itself), and would put a carriage return before each 0x0A without O_BINARY."""
_MOST: Final = 64 * 1024
"""Bytes of a certificate file at most."""


class Pins(NamedTuple):
    """The certificates that a server may show; None where there is none."""

    current: Certificate | None
    next: Certificate | None


def place(folder: Path, url: str) -> Path:
    """Return where the pins of a server lie; the same for every spelling of its address, another one for every other address."""
    parts = urlsplit(url)
    host = host_of(url)
    path = parts.path.rstrip("/")
    tail = f"_{hashlib.sha256(path.encode()).hexdigest()[:12]}" if path else ""
    return folder / "trusted" / f"{host.replace(':', '-')}_{parts.port or _PORT}{tail}"


def host_of(url: str) -> str:
    """Return the host of a server's address."""
    return (urlsplit(url).hostname or "").lower()


def load(directory: Path) -> Pins:
    """Return the pins in a server's folder. Raises UntrustedError when there is something that cannot be read."""
    return Pins(_load(directory / "current.der"), _load(directory / "next.der"))


def _load(file: Path) -> Certificate | None:
    try:
        with file.open("rb") as stream:
            return read(stream.read(_MOST))[0]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = (error.strerror or type(error).__name__) if isinstance(error, OSError) else "it is no certificate in DER or PEM"
        raise UntrustedError(
            "cert_untrusted",
            f"the trusted certificate {file} cannot be used: {why}",
            "mend or remove the file, then trust the server again",
        ) from error


def store(directory: Path, slot: Slot, certificate: Certificate) -> None:
    """Write a pin; afterwards it is there as a whole or not at all. Raises EdgeAgentError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(directory / f"{slot}.der", certificate.der, 0o644)
    except OSError as error:
        raise EdgeAgentError(f"{error.filename or directory} cannot be written: {error.strerror}") from error


def promote(directory: Path) -> None:
    """Make the next pin the current one, and forget the old one. Raises EdgeAgentError."""
    try:
        (directory / "next.der").replace(directory / "current.der")
        settle(directory)
    except OSError as error:
        raise EdgeAgentError(f"{error.filename or directory} cannot be written: {error.strerror}") from error


def write(file: Path, content: bytes, mode: int, *, new: bool = False) -> None:
    """Write a file atomically and durably; with ``new`` an existing one stays, and FileExistsError says so. Raises OSError."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{os.urandom(4).hex()}")
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED | _BINARY, mode)
    try:
        with os.fdopen(number, "wb") as stream:
            if hasattr(os, "fchmod"):  # on Windows the folder says who may read
                os.fchmod(number, mode)
            stream.write(content)
            stream.flush()
            os.fsync(number)
        if new:
            os.link(draft, file)
        else:
            draft.replace(file)
        settle(file.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def settle(directory: Path) -> None:
    """Have a folder's entries on the disk. Raises OSError."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder
        return
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
