"""Trust by authority: a chain to a certificate in ``<folder>/ca``, and the authorities' revocation lists (RFC 5280, 6; OPC 10000-4, 6.1.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from edge_agent.drivers.opcua.certificate import Certificate, UntrustedError, read

T = TypeVar("T")

_CERTIFICATES: Final = frozenset({".pem", ".der", ".crt", ".cer"})
_LISTS: Final = frozenset({".crl"})


def verify(chain: Sequence[Certificate], folder: Path, now: datetime) -> list[str]:
    """Raise UntrustedError unless an authority in ``folder`` vouches for the first certificate and has not revoked any of the chain.

    Every authority must have a revocation list there; one that is out of date counts, and is told in what this returns.
    """
    anchors = [each.parsed for file in _files(folder, _CERTIFICATES) for each in _read(file, read)]
    if not anchors:
        raise UntrustedError("cert_untrusted", f"there is no authority in {folder}", f"put its certificate into {folder}")
    try:
        verifier = _builder(Store(anchors), now).build_client_verifier()
        path = verifier.verify(chain[0].parsed, [each.parsed for each in chain[1:]]).chain
    except (VerificationError, ValueError) as error:
        raise UntrustedError(
            "cert_untrusted", f"no authority in {folder} vouches for the server's certificate: {error}",
            "let it be issued by that authority, or put the certificate of its own there",
        ) from error  # fmt: skip
    lists = [each for file in _files(folder, _LISTS) for each in _read(file, _read_lists)]
    return [told for held, issuer in pairwise(path) for told in _check_revoked(held, issuer, lists, folder, now)]


def _builder(store: Store, now: datetime) -> PolicyBuilder:
    """Return the rules of a chain: authorities are authorities; what the server's own certificate must say is `judge`'s matter."""
    authority = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_authority)
    return PolicyBuilder().store(store).time(now).extension_policies(ca_policy=authority, ee_policy=ExtensionPolicy.permit_all())


def _is_authority(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("the issuer is no authority")


def _check_revoked(
    held: x509.Certificate, issuer: x509.Certificate, lists: Sequence[x509.CertificateRevocationList], folder: Path, now: datetime
) -> list[str]:
    name = issuer.subject.rfc4514_string()
    own = [each for each in lists if each.issuer == issuer.subject and _signed_by(each, issuer)]
    if not own:
        raise UntrustedError(
            "cert_untrusted",
            f"there is no revocation list of {name} in {folder}, so nobody knows what it has revoked",
            f"put its .crl file into {folder}",
        )
    newest = max(own, key=lambda each: each.last_update_utc)
    if newest.get_revoked_certificate_by_serial_number(held.serial_number) is not None:
        raise UntrustedError(
            "cert_revoked",
            f"{name} has revoked {held.subject.rfc4514_string()}",
            "let the authority issue a new certificate to the server",
        )
    if newest.next_update_utc is not None and newest.next_update_utc < now:
        return [f"the revocation list of {name} is out of date since {newest.next_update_utc:%Y-%m-%d}"]
    return []


def _signed_by(each: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return isinstance(key, RSAPublicKey | EllipticCurvePublicKey) and each.is_signature_valid(key)
    except (InvalidSignature, TypeError, ValueError):
        return False


def _read_lists(data: bytes) -> list[x509.CertificateRevocationList]:
    return [x509.load_pem_x509_crl(data) if b"-----BEGIN" in data else x509.load_der_x509_crl(data)]


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.suffix.lower() in suffixes)
    except OSError:
        return []


def _read(file: Path, parse: Callable[[bytes], list[T]]) -> list[T]:
    try:
        return parse(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UntrustedError("cert_untrusted", f"{file} cannot be used ({type(error).__name__})", "mend or remove it") from error
