"""Sessions of the benchmark's OPC UA source: what is asked once for each connection, decoded and encoded by asyncua (OPC 10000-4, 5)."""

# asyncua takes plain ints for its own types, and has untyped functions.
# mypy: disable-error-code="arg-type,no-untyped-call"

from __future__ import annotations

import hashlib
import ipaddress
import os
from datetime import UTC, datetime, timedelta

from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256, SecurityPolicyNone
from asyncua.ua.ua_binary import struct_to_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

APPLICATION = "urn:edge-agent:bench-source"
_SECURED = ua.MessageSecurityMode.SignAndEncrypt
_TCP = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"


class Certificate:
    """A key and a certificate signed by it, made anew for each run."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench source")])
        names = [x509.UniformResourceIdentifier(APPLICATION), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        off = dict.fromkeys(("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False)
        on = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True)
        public = self.key.public_key()
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**(off | on)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def thumbprint(self) -> str:
        """The SHA-256 by which a client pins it."""
        return hashlib.sha256(self.der).hexdigest()


class Policies:
    """What asyncua's channel asks when a client opens it: the policy by its URI."""

    def __init__(self, certificate: Certificate | None) -> None:
        self._certificate = certificate

    def matches(self, uri: str, _: ua.MessageSecurityMode | None = None) -> bool:
        """Whether the source speaks it."""
        return uri == SecurityPolicyNone.URI or (uri == SecurityPolicyBasic256Sha256.URI and self._certificate is not None)

    def create(self, peer: bytes | None) -> object:
        """Return the policy of a client that showed ``peer``, or nothing."""
        if peer and self._certificate is not None:
            theirs = x509.load_der_x509_certificate(peer)
            return SecurityPolicyBasic256Sha256(theirs, self._certificate.certificate, self._certificate.key, _SECURED)
        return SecurityPolicyNone()


def endpoint(port: int, certificate: Certificate | None) -> ua.EndpointDescription:
    """Return the one endpoint of the source."""
    policy = SecurityPolicyNone if certificate is None else SecurityPolicyBasic256Sha256
    return ua.EndpointDescription(
        EndpointUrl=f"opc.tcp://127.0.0.1:{port}",
        Server=ua.ApplicationDescription(ApplicationUri=APPLICATION, ApplicationType=ua.ApplicationType.Server),
        ServerCertificate=None if certificate is None else certificate.der,
        SecurityMode=ua.MessageSecurityMode.None_ if certificate is None else _SECURED,
        SecurityPolicyUri=policy.URI,
        UserIdentityTokens=[ua.UserTokenPolicy(PolicyId="anonymous", TokenType=ua.UserTokenType.Anonymous)],
        TransportProfileUri=_TCP,
    )


def created(params: ua.CreateSessionParameters, policy: object, port: int, certificate: Certificate | None) -> bytes:
    """Encode the answer to CreateSession, signed where the channel is secured."""
    result = ua.CreateSessionResult(
        SessionId=ua.NodeId(1, 1), AuthenticationToken=ua.NodeId(7, 0), RevisedSessionTimeout=params.RequestedSessionTimeout,
        ServerNonce=os.urandom(32), ServerEndpoints=[endpoint(port, certificate)],
    )  # fmt: skip
    if isinstance(policy, SecurityPolicyBasic256Sha256) and certificate is not None:
        result.ServerCertificate = certificate.der
        signed = (policy.peer_certificate or b"") + (params.ClientNonce or b"")
        result.ServerSignature.Signature = policy.asymmetric_cryptography.signature(signed)
        result.ServerSignature.Algorithm = policy.AsymmetricSignatureURI
    return bytes(struct_to_binary(result))
