"""Read-only by construction: what may leave towards a server is listed here, and everything else raises before a byte is sent.

The check stands at the lowest function that every request of the OPC UA library passes (asyncua 2.1.0 is pinned for
that). There are two exceptions: a Write of exactly the Value of exactly the nodes listed as acknowledgement tags, and the one Method
that asks a server to say again which alarms it has (ConditionRefresh, OPC 10000-9, 5.5.7), which changes nothing.
Incoming messages are bounded here too, before they are buffered.
"""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary

from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.encode import CREATE_ITEMS, READ, Ready

READING: Final[frozenset[type]] = frozenset({
    ua.OpenSecureChannelRequest, ua.CloseSecureChannelRequest, ua.GetEndpointsRequest,
    ua.CreateSessionRequest, ua.ActivateSessionRequest, ua.CloseSessionRequest, ua.CancelRequest,
    ua.ReadRequest, ua.BrowseRequest, ua.BrowseNextRequest, ua.TranslateBrowsePathsToNodeIdsRequest,
    ua.RegisterNodesRequest, ua.UnregisterNodesRequest,
    ua.CreateSubscriptionRequest, ua.ModifySubscriptionRequest, ua.SetPublishingModeRequest, ua.DeleteSubscriptionsRequest,
    ua.TransferSubscriptionsRequest, ua.PublishRequest, ua.RepublishRequest, ua.HistoryReadRequest,
    ua.CreateMonitoredItemsRequest, ua.ModifyMonitoredItemsRequest, ua.SetMonitoringModeRequest, ua.DeleteMonitoredItemsRequest,
})  # fmt: skip
"""The services that change nothing in a plant."""

REFRESH: Final = (ua.NodeId(ua.ObjectIds.ConditionType), ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh))
"""Object and Method of the one call that may leave."""

BY_HAND: Final = frozenset({READ, CREATE_ITEMS})
"""Those of them that leave encoded by hand; the id that is checked is the one that is sent."""

DISCOVERY: Final[frozenset[type]] = frozenset({ua.OpenSecureChannelRequest, ua.CloseSecureChannelRequest, ua.GetEndpointsRequest})
"""All that ever leaves without protection, unless the configuration says ``allow_insecure``."""

MAX_CHUNK: Final = 65_535
MAX_MESSAGE: Final = 16 * 1024 * 1024
PROTECTED: Final = frozenset({ua.MessageSecurityMode.Sign, ua.MessageSecurityMode.SignAndEncrypt})
_HEADER: Final = 8
_SHORTEST_LIFETIME: Final = 1000
"""Milliseconds: a server that revises a channel's life to less would have us renew it without a pause."""

CONNECT: Final = 5.0
"""Machine seconds for the TCP connection, and again for its first answer: a server that is there has a stack that answers at once,
however slow its services are; one that is not there must not keep the next try waiting."""


class Guard:
    """Decides about every request. ``acknowledgements`` are the node ids that may be written, set anew on each connect.

    Without ``insecure`` nothing but discovery passes a channel that neither signs nor encrypts.
    """

    def __init__(self, *, insecure: bool = False) -> None:
        self.acknowledgements: frozenset[ua.NodeId] = frozenset()
        self.insecure = insecure

    def check_channel(self, request: Any, mode: ua.MessageSecurityMode) -> None:
        """Raise PermissionError unless the request may leave over a channel of this mode."""
        if mode not in PROTECTED and not self.insecure and type(request) not in DISCOVERY:
            raise PermissionError(f"{type(request).__name__} is not sent: the channel is not secured, and nobody allowed that")

    def check(self, request: Any) -> None:
        """Raise PermissionError unless the request only reads, writes acknowledgement tags and nothing else, or calls ConditionRefresh."""
        kind = type(request)
        if kind in READING or (kind is Ready and request.service in BY_HAND):
            return
        if kind is ua.WriteRequest and self._only_acknowledges(request):
            return
        if kind is ua.CallRequest and _only_refreshes(request):
            return
        raise PermissionError(f"{kind.__name__} is not sent: this agent reads, and writes listed acknowledgement tags only")

    def _only_acknowledges(self, request: Any) -> bool:
        writes = request.Parameters.NodesToWrite
        return bool(writes) and all(
            write.NodeId in self.acknowledgements and write.AttributeId == ua.AttributeIds.Value and not write.IndexRange
            for write in writes
        )  # fmt: skip


def _only_refreshes(request: Any) -> bool:
    """Whether a call is one ConditionRefresh of ConditionType with the number of a subscription, and nothing beside it."""
    calls = request.Parameters.MethodsToCall
    if not isinstance(calls, list) or len(calls) != 1 or type(calls[0]) is not ua.CallMethodRequest:
        return False
    call = calls[0]
    if type(call.ObjectId) is not ua.NodeId or type(call.MethodId) is not ua.NodeId:
        return False
    if (call.ObjectId, call.MethodId) != REFRESH or not isinstance(call.InputArguments, list) or len(call.InputArguments) != 1:
        return False
    argument = call.InputArguments[0]
    return (
        type(argument) is ua.Variant
        and argument.VariantType is ua.VariantType.UInt32
        and not argument.is_array
        and type(argument.Value) is int
        and 0 <= argument.Value < 1 << 32
    )


class GuardedProtocol(UASocketProtocol):
    """asyncua's transport with the guard before every request and a bound on every message received."""

    def __init__(self, guard: Guard, timeout: float, security_policy: Any) -> None:
        super().__init__(timeout, security_policy=security_policy)
        self._guard = guard
        self._pending = bytearray()
        self._message_size = 0

    def _send_request(
        self, request: Any, timeout: float = 1, message_type: ua.MessageType = ua.MessageType.SecureMessage
    ) -> asyncio.Future[Any]:
        self._guard.check(request)
        self._guard.check_channel(request, self._connection.security_policy.Mode)
        return super()._send_request(request, timeout, message_type)

    def send_ready(self, requests: Sequence[Ready], timeout: float) -> list[asyncio.Future[Any]]:
        """Send encoded requests in one write; the future of each response. Raises PermissionError before anything is sent."""
        for request in requests:
            self._guard.check(request)
            self._guard.check_channel(request, self._connection.security_policy.Mode)
        if self.transport is None:
            raise ConnectionError("the connection is closed")
        token, loop = nodeid_to_binary(self.authentication_token), asyncio.get_running_loop()
        out, futures = [], []
        for request in requests:
            self._request_handle += 1
            body = request.message(token, self._request_handle, timeout, time.time_ns())
            self.revolve_security_token()
            self._request_id += 1
            out.append(self._connection.message_to_binary(body, request_id=self._request_id))
            futures.append(loop.create_future())
            self._callbackmap[self._request_id] = futures[-1]
        self.transport.write(b"".join(out))
        return futures

    def data_received(self, data: bytes) -> None:
        """Hand over whole chunks only; close on a chunk or message above the limits, before it is buffered."""
        self._pending += data
        whole = 0
        while len(self._pending) - whole >= _HEADER:
            size = int.from_bytes(self._pending[whole + 4 : whole + 8], "little")
            final = self._pending[whole + 3 : whole + 4] != b"C"
            if not _HEADER <= size <= MAX_CHUNK or self._message_size + size > MAX_MESSAGE:
                self._refuse(f"the server announced {size} bytes; a chunk has at most {MAX_CHUNK}, a message {MAX_MESSAGE}")
                return
            if len(self._pending) - whole < size:
                break
            self._message_size = 0 if final else self._message_size + size
            whole += size
        if whole:
            chunks = bytes(self._pending[:whole])
            del self._pending[:whole]
            super().data_received(chunks)

    def _process_received_message(self, msg: ua.Message | ua.Acknowledge | ua.ErrorMessage | None) -> None:
        """Let a refusal to open the channel fail the request (asyncua takes any answer for a channel, and then breaks down over it)."""
        if isinstance(msg, ua.Message) and msg._chunks[0].MessageHeader.MessageType == ua.MessageType.SecureOpen:  # noqa: SLF001
            body = msg.body()  # type: ignore[no-untyped-call]
            nodeid_from_binary(body)
            struct_from_binary(ua.ResponseHeader, body).ServiceResult.check()
        super()._process_received_message(msg)

    def _refuse(self, why: str) -> None:
        self._pending.clear()
        self._fail_all_pending(ConnectionError(why))
        if self.transport is not None:
            self.transport.abort()


class GuardedUaClient(UaClient):
    """asyncua's low-level client on a guarded transport."""

    def __init__(self, guard: Guard, timeout: float) -> None:
        super().__init__(timeout)
        self._guard = guard
        self.keeps = False

    async def close_session(self, delete_subscriptions: bool) -> None:
        """Close the session; its subscriptions outlive it where another connection is to go on with them (``keeps``)."""
        await super().close_session(delete_subscriptions and not self.keeps)

    async def connect_socket(self, host: str, port: int) -> None:
        """Open the TCP connection within `CONNECT`. Raises TimeoutError."""
        async with deadline(min(self._timeout, CONNECT)):
            await super().connect_socket(host, port)

    async def send_hello(self, url: str, max_messagesize: int = 0, max_chunkcount: int = 0) -> ua.Acknowledge:
        """Exchange the limits of messages within `CONNECT`. Raises TimeoutError."""
        async with deadline(min(self._timeout, CONNECT)):
            return await super().send_hello(url, max_messagesize, max_chunkcount)

    async def open_secure_channel(self, params: ua.OpenSecureChannelParameters) -> ua.OpenSecureChannelResult:
        """Open or renew the channel. Its age counts by our clock: the server's may be years away (asyncua compares them)."""
        result = await super().open_secure_channel(params)
        token = result.SecurityToken
        token.CreatedAt = datetime.now(UTC)
        token.RevisedLifetime = max(token.RevisedLifetime, _SHORTEST_LIFETIME)
        return result

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = GuardedProtocol(self._guard, self._timeout, self.security_policy)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol
