"""The file that carries a gateway's identity: a zip of well-known forms, nothing of our own in it.

``identity.json`` says whose it is; ``own.p12`` (PKCS #12, RFC 7292, encrypted with a passphrase) holds the agent's key and certificate; ``pki/`` the
certificates of the servers it trusts; ``config/`` its files as they stand there. Passwords are not in it: the files that hold them are named.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from edge_agent.model.errors import EdgeAgentError

FORMAT = 1
_LARGEST = 16 << 20
_MOST = 10_000
_PLAIN = (".yaml", ".yml", ".csv", ".der", ".pem", ".crt", ".cer", ".crl")


class About(msgspec.Struct, kw_only=True):
    """Whose identity it is. ``secrets``: files that must be brought by hand; ``included``: what ``include:`` calls the folders included-1, ..."""

    format: int = FORMAT
    agent: str
    site: list[str]
    version: str
    made_at: str
    secrets: list[str] = []
    included: list[str] = []


@dataclass
class Parcel:
    """What is carried: ``files`` by their path in the zip, the key and the certificate (with its chain) apart, as PEM."""

    about: About
    files: dict[str, bytes] = field(default_factory=dict)
    certificate: bytes | None = None
    key: bytes | None = None


def pack(parcel: Parcel, passphrase: bytes | None) -> bytes:
    """Return the zip. ``passphrase`` is needed where there is a key."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("identity.json", msgspec.json.format(msgspec.json.encode(parcel.about), indent=1))
        if parcel.certificate is not None and parcel.key is not None and passphrase:
            bundle.writestr("own.p12", _sealed(parcel.certificate, parcel.key, passphrase))
        for name, content in sorted(parcel.files.items()):
            bundle.writestr(name, content)
    return out.getvalue()


def _sealed(certificate: bytes, key: bytes, passphrase: bytes) -> bytes:
    first, *chain = x509.load_pem_x509_certificates(certificate)
    loaded = serialization.load_pem_private_key(key, None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise EdgeAgentError("the agent's key is no RSA key, which OPC UA wants")
    return pkcs12.serialize_key_and_certificates(
        b"edge-agent", loaded, first, chain, serialization.BestAvailableEncryption(passphrase)
    )


def needs_passphrase(data: bytes) -> bool:
    """Return whether there is a key in the file. Raises EdgeAgentError when it is no such file."""
    with _opened(data) as bundle:
        return "own.p12" in bundle.namelist()


def unpack(data: bytes, passphrase: bytes | None) -> Parcel:
    """Return what a zip carries. Raises EdgeAgentError when it is none of ours, was tampered with, or the passphrase is wrong."""
    with _opened(data) as bundle:
        parcel = Parcel(_about(bundle))
        parcel.files = {name: bundle.read(name) for name in _names(bundle)}
        if "own.p12" in bundle.namelist():
            parcel.certificate, parcel.key = _opened_key(bundle.read("own.p12"), passphrase or b"")
    return parcel


def _opened(data: bytes) -> zipfile.ZipFile:
    try:
        bundle = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise EdgeAgentError("this is no identity file; `edge-agent identity export` writes one") from None
    if len(bundle.infolist()) > _MOST or sum(each.file_size for each in bundle.infolist()) > _LARGEST:
        raise EdgeAgentError("this identity file is larger than any that `edge-agent identity export` writes")
    return bundle


def _about(bundle: zipfile.ZipFile) -> About:
    try:
        about = msgspec.json.decode(bundle.read("identity.json"), type=About)
    except (KeyError, msgspec.MsgspecError, zipfile.BadZipFile):
        raise EdgeAgentError("this is no identity file; `edge-agent identity export` writes one") from None
    if about.format != FORMAT:
        raise EdgeAgentError(
            f"this identity file has format {about.format}; this version knows {FORMAT}: use a version as new as the one that wrote it ({about.version})"
        )
    return about


def _names(bundle: zipfile.ZipFile) -> Iterator[str]:
    """Yield the files to lay out; a name that leads out of its folder, or a kind that no export writes, is an attack."""
    for name in bundle.namelist():
        if name in {"identity.json", "own.p12"}:
            continue
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or path.parts[0] not in {"config", "pki"}
            or path.suffix not in _PLAIN
            or "\\" in name
        ):
            raise EdgeAgentError(f"the identity file holds {name!r}, which no export writes; nothing was changed")
        yield name


def _opened_key(data: bytes, passphrase: bytes) -> tuple[bytes, bytes]:
    try:
        key, certificate, chain = pkcs12.load_key_and_certificates(data, passphrase)
    except ValueError:
        raise EdgeAgentError("the passphrase is wrong, or the file is damaged; nothing was changed") from None
    if key is None or certificate is None:
        raise EdgeAgentError("the identity file holds no key; nothing was changed")
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(each.public_bytes(pem) for each in (certificate, *chain)), plain


def take(root: Path, inside: str, parcel: Parcel) -> None:
    """Put the plain files below ``root`` into the parcel, as ``inside``/..."""
    for file in sorted(root.rglob("*")) if root.is_dir() else ():
        if file.is_file() and file.suffix in _PLAIN and not any(part.startswith(".") for part in file.relative_to(root).parts):
            parcel.files[f"{inside}/{file.relative_to(root).as_posix()}"] = file.read_bytes()
