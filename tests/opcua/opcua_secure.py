"""Servers with certificates for the tests of security: an asyncua server in this process, and a scripted one that offers whatever it is told."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import header_from_binary, nodeid_from_binary, struct_from_binary, struct_to_binary, uatcp_to_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from opcua_plant import URI, Plc, free_port

from edge_agent.drivers.opcua import pins
from edge_agent.drivers.opcua.certificate import Certificate
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.ports import Identity

SERVER_URI = "urn:test:plc"
EVERYTHING = [
    ua.SecurityPolicyType.NoSecurity,
    ua.SecurityPolicyType.Basic256Sha256_Sign, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_Sign, ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign, ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]  # fmt: skip
ENCRYPTED = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]


@functools.cache
def key(name: str = "server", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the key of that name, made once for all tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def key_bytes(private: rsa.RSAPrivateKey) -> bytes:
    """Return a key as asyncua loads it."""
    return private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate(
    private: rsa.RSAPrivateKey | None = None, *, uris: Sequence[str] = (SERVER_URI,), days: tuple[float, float] = (-1, 365), name: str = "plc",
    usage: dict[str, bool] | None = None, extended: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
    issuer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None = None, authority: bool = False, hosts: Sequence[str] = ("127.0.0.1",),
) -> x509.Certificate:  # fmt: skip
    """Return a certificate, signed by itself or by ``issuer``; ``days`` are its validity from now."""
    private = private or key()
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
    allowed = dict.fromkeys(
        ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), authority
    ) | dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"), True)
    if authority:
        allowed |= {"key_agreement": False, "encipher_only": False, "decipher_only": False}
    own = private.public_key()
    signer = issuer[1] if issuer is not None else private
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer is not None else subject)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**(allowed | (usage or {}))), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names and not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extended and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(extended)), critical=False)
    return builder.sign(signer, hashes.SHA256())


def revocations(
    issuer: tuple[x509.Certificate, rsa.RSAPrivateKey], revoked: Sequence[x509.Certificate] = (), *, days: tuple[float, float] = (-1, 30)
) -> x509.CertificateRevocationList:  # fmt: skip
    """Return an authority's revocation list."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer[0].subject)
    builder = builder.last_update(now + timedelta(days=days[0])).next_update(now + timedelta(days=days[1]))
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(now - timedelta(hours=1)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer[1], hashes.SHA256())


def der(made: x509.Certificate) -> bytes:
    """Return a certificate as it is sent."""
    return made.public_bytes(serialization.Encoding.DER)


def ours(made: x509.Certificate) -> Certificate:
    """Return a certificate as the driver has it."""
    return Certificate(der(made))


def identity(tmp_path: Path) -> Identity:
    """Return agent ``gw1``, whose folder is below ``tmp_path``."""
    return Identity("gw1", tmp_path / "pki", tmp_path / "config")


def pinned(tmp_path: Path, url: str, made: x509.Certificate, slot: pins.Slot = "current") -> None:
    """Trust a certificate as ``edge-agent trust`` does."""
    pins.store(pins.place(tmp_path / "pki", url), slot, ours(made))


class Users:
    """The users of a server: one with a password, one with a certificate; anonymous only where ``anonymous``."""

    def __init__(self, *, anonymous: bool = True) -> None:
        self.anonymous = anonymous
        self.certificates: list[bytes] = []
        self.seen: list[str] = []

    def get_user(self, iserver: Any, username: str | None = None, password: Any = None, certificate: Any = None) -> User | None:
        if username is not None:
            self.seen.append(username)
            password = password.decode() if isinstance(password, bytes) else password
            return User(role=UserRole.User) if (username, password) == ("reader", "geheim") else None
        if certificate in self.certificates:  # without a user certificate this is the channel's
            self.seen.append("certificate")
            return User(role=UserRole.User)
        self.seen.append("anonymous")
        return User(role=UserRole.User) if self.anonymous else None


class SecurePlc(Plc):
    """A server with certificates: built once (that takes seconds), then started by each test with what it needs."""

    def __init__(self) -> None:
        super().__init__(free_port())
        self.users = Users()
        self.certificate = certificate()

    async def build(self) -> None:
        await self.server.init()
        self.server.set_endpoint(self.url)
        await self.server.set_application_uri(SERVER_URI)
        self.server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken])
        self.index = await self.server.register_namespace(URI)
        await self.add("CanaryTag", 7)

    @contextlib.asynccontextmanager
    async def serving(
        self, policies: Sequence[ua.SecurityPolicyType] = ENCRYPTED, users: Users | None = None, made: x509.Certificate | None = None,
        private: rsa.RSAPrivateKey | None = None,
    ) -> AsyncIterator[SecurePlc]:  # fmt: skip
        """Run with these endpoints, users, certificate and key."""
        self.users, self.certificate = users or Users(), made or certificate()
        self.server.iserver.user_manager = self.users
        self.server.iserver.certificate_validator = None
        self.server.iserver.endpoints.clear()
        self.server._policies.clear()
        self.server.set_security_policy(list(policies))
        await self.server.load_certificate(der(self.certificate), "der")
        await self.server.load_private_key(key_bytes(private or key()), None, "der")
        await self.server.start()
        try:
            yield self
        finally:
            await self.server.stop()

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    def config(self, **more: Any) -> OpcUaConfig:
        """Return a device without ``allow_insecure``."""
        return secure_config(self.port, **more)


def secure_config(port: int, **more: Any) -> OpcUaConfig:
    """Return a device called ``plc`` that must be secured, with one tag."""
    values = {"version": 1, "device": "plc", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "namespace": URI}
    return OpcUaConfig.model_validate(
        values | {"sampling": "20ms", "publishing": "20ms", "tags": {"count": {"node": "s=CanaryTag"}}} | more
    )


class ScriptedServer:
    """Answers discovery with any endpoints, and nothing else; keeps every byte that it got, by connection."""

    def __init__(self, endpoints: Sequence[ua.EndpointDescription]) -> None:
        self.endpoints = list(endpoints)
        self.received: list[bytearray] = []
        self.port = 0
        self.refusal = 0
        """StatusCode with which it refuses to open a channel; 0: it opens one."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log = bytearray()
        self.received.append(log)
        channel = SecureConnection(SecurityPolicyNone(), TransportLimits())
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(8)
                body = await reader.readexactly(int.from_bytes(head[4:], "little") - 8)
                log += head + body
                if (answer := self._answer(channel, head + body)) is None:
                    break
                writer.write(answer)
        writer.close()

    def _answer(self, channel: SecureConnection, chunk: bytes) -> bytes | None:
        if chunk[:3] == b"HEL":
            return uatcp_to_binary(ua.MessageType.Acknowledge, ua.Acknowledge(0, 65535, 65535, 0, 0))
        if chunk[:3] == b"OPN" and b"SecurityPolicy#None" not in chunk:
            return None  # we have no key; the client has shown what it wanted
        buffer = ua.utils.Buffer(chunk)
        message = channel.receive_from_header_and_body(header_from_binary(buffer), buffer)
        body = message.body()
        kind = nodeid_from_binary(body).Identifier
        header = struct_from_binary(ua.RequestHeader, body)
        if chunk[:3] == b"OPN" and self.refusal:
            response: Any = ua.ServiceFault()
            response.ResponseHeader.ServiceResult = ua.StatusCode(self.refusal)
        elif chunk[:3] == b"OPN":
            response = ua.OpenSecureChannelResponse()
            response.Parameters = channel.open(struct_from_binary(ua.OpenSecureChannelParameters, body), self)
        elif kind == ua.ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary:
            response = ua.GetEndpointsResponse(Endpoints=self.endpoints)
        else:
            return None
        response.ResponseHeader.RequestHandle = header.RequestHandle
        kind_of = ua.MessageType.SecureOpen if chunk[:3] == b"OPN" else ua.MessageType.SecureMessage
        return channel.message_to_binary(struct_to_binary(response), message_type=kind_of, request_id=message.request_id())

    @staticmethod
    def get_new_channel_id() -> int:
        return 5

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
