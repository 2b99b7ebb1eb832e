"""The agent's own certificate and key (OPC 10000-6, 6.2.2): made at need, kept for its whole life, carried over to a replaced gateway.

``<folder>/own/certificate.pem`` (with its chain, when an authority has issued it) and ``<folder>/own/key.pem``, 0600. ``certificate.der`` beside them is
the same certificate for servers that want to be told whom to trust.
"""

from __future__ import annotations

import contextlib
import os
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_agent.drivers.opcua.certificate import LEAST_BITS, Certificate, UntrustedError, read
from edge_agent.drivers.opcua.pins import write
from edge_agent.ports import Identity

_YEARS: Final = 10
"""Every server that knows the agent must be told of a new certificate by a person: not every year."""

_BITS: Final = 2048
"""What every policy and every PLC takes; more is a certificate of an authority's."""

_SANE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock is right that is before this; a certificate made by such a clock would be over before it begins."""


class Keys(NamedTuple):
    """A certificate with its key; ``chain`` are the authorities' certificates that go with it."""

    certificate: Certificate
    key: rsa.RSAPrivateKey
    chain: tuple[Certificate, ...] = ()

    @property
    def application(self) -> str:
        """The application URI, which the server compares with what the agent says of itself."""
        return self.certificate.uris[0]


def application_uri(agent: str) -> str:
    """Return the URI of an agent: made of its id, so that it stays with whatever gateway has that id."""
    return f"urn:edge-agent:{agent}"


def own(identity: Identity) -> Keys:
    """Return the agent's certificate and key; makes them when there are none. Raises UntrustedError with what to mend."""
    folder = identity.folder / "own"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    try:
        if certificate.exists() and not key.exists():
            raise _trouble(f"{key} is missing", f"put it beside {certificate}, or remove that too to begin with a new identity")
        if not certificate.exists():
            _create(folder, identity)
        return _checked(load(certificate, key), certificate)
    except OSError as error:
        raise _trouble(f"{error.filename or folder}: {error.strerror}", "check the folder and its permissions") from error


def user(certificate: Path, key: Path) -> Keys:
    """Return the user certificate that the configuration names. Raises UntrustedError."""
    try:
        return load(certificate, key)
    except UntrustedError as error:
        raise UntrustedError("user_certificate", error.text, error.remedy) from error
    except OSError as error:
        raise UntrustedError(
            "user_certificate", f"{error.filename}: {error.strerror}", "check user_certificate and user_key"
        ) from error


def load(certificate: Path, key: Path) -> Keys:
    """Return a certificate (PEM or DER, its chain behind it) and its key from files. Raises UntrustedError, and OSError."""
    if os.name == "posix" and key.stat().st_mode & 0o007:  # elsewhere these bits say nothing
        raise _trouble(f"{key} can be read by everybody", f"chmod 600 {key}")
    try:
        first, *chain = read(certificate.read_bytes())
    except ValueError as error:
        raise _trouble(f"{certificate} holds no certificate ({error})", "mend the file") from error
    loaded = _key(key)
    public = loaded.public_key()
    if first.parsed.public_key() != public:
        raise _trouble(f"{certificate} and {key} do not belong together", "put the right key beside it")
    return Keys(first, loaded, tuple(chain))


def _key(file: Path) -> rsa.RSAPrivateKey:
    data = file.read_bytes()
    try:
        pem = b"-----BEGIN" in data
        loaded = serialization.load_pem_private_key(data, None) if pem else serialization.load_der_private_key(data, None)
    except (ValueError, TypeError):
        raise _trouble(
            f"{file} holds no key that can be used without a passphrase", "store it as PKCS #8 without one, mode 0600"
        ) from None
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise _trouble(f"{file} is no RSA key", "the security policies of OPC UA ask for RSA")
    return loaded


def _checked(keys: Keys, file: Path) -> Keys:
    now = datetime.now(UTC)
    if len(keys.certificate.uris) != 1:
        raise _trouble(
            f"{file} does not hold exactly one application URI in its subject alternative name", "let it be issued with one"
        )
    if keys.key.key_size < LEAST_BITS:
        raise _trouble(f"{file} has a key of {keys.key.key_size} bits", f"at least {LEAST_BITS} are wanted")
    if not keys.certificate.begins <= now <= keys.certificate.ends:
        raise _trouble(
            f"{file} is valid from {keys.certificate.begins:%Y-%m-%d} to {keys.certificate.ends:%Y-%m-%d}, and it is {now:%Y-%m-%d}",
            "check the clock; or remove the file: a new one is made with the same key, and the servers must be told to trust it",
        )
    return keys


def _create(folder: Path, identity: Identity) -> None:
    """Make what is missing. Two that do so at once end with the same: who comes second takes what is there."""
    if datetime.now(UTC) < _SANE:
        raise _trouble(
            f"the clock of the gateway says {datetime.now(UTC):%Y-%m-%d}, so no certificate can be made", "set the clock"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "key.pem"
    if not file.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        text = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with contextlib.suppress(FileExistsError):
            write(file, text, 0o600, new=True)
    certificate = self_signed(_key(file), identity.agent)
    with contextlib.suppress(FileExistsError):
        write(folder / "certificate.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644, new=True)
    write(folder / "certificate.der", read((folder / "certificate.pem").read_bytes())[0].der, 0o644)


def self_signed(key: rsa.RSAPrivateKey, agent: str) -> x509.Certificate:
    """Return the certificate of an OPC UA client: usages by OPC 10000-6, 6.2.2, its application URI and the host's name."""
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, agent), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "edge-agent")])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri(agent))]
    if host := platform.node().encode("ascii", "ignore").decode():
        names.append(x509.DNSName(host))
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True, key_agreement=False,
        key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _trouble(what: str, remedy: str) -> UntrustedError:
    return UntrustedError("own_certificate", what, remedy)
