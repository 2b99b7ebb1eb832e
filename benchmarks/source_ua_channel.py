"""The secure channel of the benchmark's OPC UA source: chunks in and out, for what `source_opcua` answers (OPC 10000-6, 6.7 and 7)."""

# asyncua takes plain ints and bytes for its own types, and has untyped functions.
# mypy: disable-error-code="arg-type,comparison-overlap,no-untyped-call"

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

from asyncua import ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import header_from_binary, struct_from_binary, struct_to_binary, uatcp_to_binary

from benchmarks.source_ua_session import Certificate, Policies

CHUNK = 65_535


class Channel(asyncio.Protocol):
    """One connection. `serve` is called for every request; `send` answers."""

    def __init__(self, certificate: Certificate | None) -> None:
        self._pending = bytearray()
        self.secured = SecureConnection(SecurityPolicyNone(), TransportLimits())
        self.secured.set_policy_factories([Policies(certificate)])
        self.transport: Any = None

    def serve(self, request: int, body: bytes) -> None:
        """Answer request number ``request``, now or later."""

    def send(self, request: int, body: bytes) -> None:
        """Send the response of a request, in as many chunks as it needs."""
        self.transport.write(self.secured.message_to_binary(body, request_id=request))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of a client."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle whole chunks."""
        self._pending += data
        while len(self._pending) >= 8:
            (size,) = struct.unpack_from("<I", self._pending, 4)
            if len(self._pending) < size:
                return
            chunk = bytes(self._pending[:size])
            del self._pending[:size]
            self._chunk(Buffer(chunk))

    def _chunk(self, chunk: Any) -> None:
        header = header_from_binary(chunk)
        message = self.secured.receive_from_header_and_body(header, chunk)
        if isinstance(message, ua.Hello):
            self.transport.write(uatcp_to_binary(ua.MessageType.Acknowledge, ua.Acknowledge(0, CHUNK, CHUNK, 0, 0)))
        elif header.MessageType == ua.MessageType.SecureOpen:
            self._open(message)
        elif header.MessageType == ua.MessageType.SecureClose:
            self.transport.close()
        elif message is not None:
            body = message.body()
            self.serve(message.request_id(), bytes(body.read(len(body))))

    def _open(self, message: Any) -> None:
        security = message.SecurityHeader()
        request = struct_from_binary(ua.OpenSecureChannelRequest, message.body())
        if not self.secured.is_open():
            self.secured.select_policy(security.SecurityPolicyURI, security.SenderCertificate, request.Parameters.SecurityMode)
        answer = ua.OpenSecureChannelResponse()
        answer.Parameters = self.secured.open(request.Parameters, SimpleNamespace(get_new_channel_id=lambda: 5))
        answer.ResponseHeader.RequestHandle = request.RequestHeader.RequestHandle
        raw = struct_to_binary(answer)
        self.transport.write(self.secured.message_to_binary(raw, ua.MessageType.SecureOpen, message.request_id()))
