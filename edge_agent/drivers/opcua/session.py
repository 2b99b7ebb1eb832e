"""One session with one server: services in batches within the server's limits, every await bounded by machine time."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import structlog
from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edge_agent.drivers.opcua.deadline import deadline
from edge_agent.drivers.opcua.encode import Ready
from edge_agent.drivers.opcua.guard import CONNECT, Guard, GuardedProtocol
from edge_agent.drivers.opcua.orphan import leave
from edge_agent.drivers.opcua.profile import GENERIC, profile_for, profiles
from edge_agent.drivers.opcua.security import GuardedClient
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.small import create_small, read_small
from edge_agent.drivers.opcua.unreached import why
from edge_agent.drivers.opcua.variant import DecodeError
from edge_agent.drivers.opcua.wire import Created, Message, create_items_response, read_response, republish_response
from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import PlantClock

T = TypeVar("T")
R = TypeVar("R")

_AT_MOST: Final = 1000

_TOO_MUCH: Final = frozenset({
    ua.StatusCodes.BadTooManyOperations, ua.StatusCodes.BadRequestTooLarge, ua.StatusCodes.BadResponseTooLarge,
    ua.StatusCodes.BadEncodingLimitsExceeded,
})  # fmt: skip

NAMESPACES, STARTED, CURRENT, STATE = 2255, 2257, 2258, 2259
PRODUCT, MANUFACTURER, SOFTWARE = 2261, 2263, 2264
_READ_LIMIT, _BROWSE_LIMIT, _TRANSLATE_LIMIT, _MONITOR_LIMIT, _REGISTER_LIMIT = 11705, 11710, 11712, 11714, 11711
_FACTS: Final = (
    NAMESPACES, STARTED, CURRENT, STATE, PRODUCT, MANUFACTURER, SOFTWARE,
    _READ_LIMIT, _BROWSE_LIMIT, _TRANSLATE_LIMIT, _MONITOR_LIMIT, _REGISTER_LIMIT,
)  # fmt: skip


def status_text(code: int) -> str:
    """Return the name of a StatusCode, without its info bits: ``BadNodeIdUnknown``."""
    name, _ = get_name_and_doc(code & 0xFFFF_0000)
    return name if name not in {"Bad", "Uncertain"} or not code & 0x0FFF_0000 else f"{name} (0x{code:08X})"


_STEPS: Final = 3
"""Requests of a connection that opens, one after another: channel, session, activation. Each may take the timeout."""


def _unreadable(handle: int, status: int) -> Columns:
    """Return one row without a value."""
    rows = Columns()
    rows.append(handle, status=status)
    return rows


NOT_SUBSCRIBED: Final = frozenset({
    ua.StatusCodes.BadTooManySubscriptions, ua.StatusCodes.BadTooManyMonitoredItems, ua.StatusCodes.BadServiceUnsupported,
    ua.StatusCodes.BadNotSupported, ua.StatusCodes.BadNotImplemented, ua.StatusCodes.BadOutOfMemory,
    ua.StatusCodes.BadResourceUnavailable, ua.StatusCodes.BadMonitoringModeInvalid, *_TOO_MUCH,
})  # fmt: skip
"""What a server says that does not subscribe, or not to so much: what it does not sample is polled."""


def refusal(error: DisconnectedError) -> int | None:
    """Return the status with which a server said that it does not subscribe, None where the error is another one."""
    cause = error.__cause__
    return cause.code if isinstance(cause, UaStatusCodeError) and cause.code in NOT_SUBSCRIBED else None


class Session:
    """A connected, activated session.

    ``facts`` are the values of the server's standard nodes, by their number in namespace 0, as they were at plant time ``asked_at``.

    Every service raises DisconnectedError when the server does not answer in time or refuses the service as a whole.
    """

    def __init__(self, client: GuardedClient, guard: Guard, timeout: float, clock: PlantClock, profile: str | None = None) -> None:
        self.client = client
        self.guard = guard
        self.timeout = timeout
        self.asked_at = 0
        self.namespaces: list[str] = []
        self.facts: dict[int, Any] = {}
        self._clock = clock
        self._read_size = self._monitor_size = self.translate_size = self.browse_size = self.register_size = _AT_MOST
        self._wanted = profile
        self.profile_name, self.profile = GENERIC, profiles()[GENERIC]
        self._turn = asyncio.Lock()
        self.server = client.server_url.netloc
        self._log = structlog.get_logger().bind(server=self.server)

    @contextlib.asynccontextmanager
    async def bounded(self, what: str, *, batch: bool = False, within: float | None = None) -> AsyncIterator[None]:
        """Bound what stands inside by the timeout and make one error of all the ways in which a connection dies.

        With ``batch`` the server may say that it was too much at once; that error passes.
        """
        try:
            async with deadline(within or self.timeout):
                yield
        except TimeoutError:
            raise DisconnectedError(f"{what}: no answer within {within or self.timeout:g} s") from None
        except PermissionError:
            raise  # the guard's word, though it is an OSError to Python
        except UaStatusCodeError as error:
            if batch and error.code in _TOO_MUCH:
                raise
            raise DisconnectedError(f"{what}: the server answers {status_text(error.code)}") from error
        except (OSError, UaError, DecodeError) as error:
            raise DisconnectedError(f"{what}: {why(error)}") from error

    async def open(self) -> None:
        """Connect, activate, and read what the server says about itself."""
        async with self.bounded("connect", within=2 * CONNECT + _STEPS * self.timeout):
            await self.client.connect()
        await self.refresh()
        self.profile_name, profile = profile_for(self.facts.get(PRODUCT), self.facts.get(MANUFACTURER), self._wanted)
        self.profile = profile
        for name, number, most in (
            ("_read_size", _READ_LIMIT, profile.read), ("browse_size", _BROWSE_LIMIT, profile.browse),
            ("translate_size", _TRANSLATE_LIMIT, profile.translate), ("_monitor_size", _MONITOR_LIMIT, profile.monitor),
            ("register_size", _REGISTER_LIMIT, profile.read),
        ):  # fmt: skip
            limit = self.facts.get(number)
            # 0 and absent both mean that the server names no limit (OPC 10000-5, 6.3.11).
            setattr(self, name, min(limit, most) if isinstance(limit, int) and limit > 0 else most)

    async def refresh(self) -> None:
        """Read the namespaces, times, state and limits of the server again."""
        before = self._clock.now()
        rows = await self.read([ua.NodeId(number) for number in _FACTS])
        self.asked_at = (before + self._clock.now()) // 2
        self.facts = dict(zip(_FACTS, rows.values, strict=True))
        uris = self.facts[NAMESPACES]
        self.namespaces = [str(uri) for uri in uris] if isinstance(uris, tuple) else []

    async def close(self, within: float) -> None:
        """Close session and channel within that many seconds, then drop whatever is left."""
        client, protocol = self.client, self.client.uaclient.protocol
        try:
            if protocol is not None and not protocol.is_closed:
                async with deadline(within):
                    await client.disconnect()
            else:
                leave(client)
        except (TimeoutError, OSError, UaError) as error:
            leave(client)
            self._log.debug("opcua.teardown", error=str(error))
        finally:
            tasks = [client._renew_channel_task, client._supervisor_task, client._stale_watchdog_task]  # noqa: SLF001
            for task in tasks:
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
            client.disconnect_socket()
            if protocol is not None and protocol.transport is not None:
                protocol.transport.abort()

    def publish(self, request: ua.PublishRequest) -> asyncio.Future[Any]:
        """Send a PublishRequest and return the future of its response; raises DisconnectedError when the socket is gone."""
        protocol = self.client.uaclient.protocol
        try:
            if protocol is None:
                raise ConnectionError("the connection is closed")
            return protocol._send_request(request, timeout=0)  # noqa: SLF001 - the library's own publish is one at a time
        except OSError as error:
            raise DisconnectedError(f"waiting for notifications: {error}") from error

    def send_ready(self, requests: Sequence[Ready]) -> Sequence[asyncio.Future[Any]]:
        """Send encoded requests in one go; the futures of their responses. Raises DisconnectedError when the socket is gone."""
        protocol = self.client.uaclient.protocol
        try:
            if not isinstance(protocol, GuardedProtocol):
                raise ConnectionError("the connection is closed")
            return protocol.send_ready(requests, self.timeout)
        except PermissionError:
            raise  # the guard's word, though it is an OSError to Python
        except OSError as error:
            raise DisconnectedError(f"sending: {error}") from error

    async def answer(self, future: asyncio.Future[Any], what: str) -> bytes:
        """Wait for the undecoded body of a response to an encoded request. Raises DisconnectedError."""
        if not future.done():
            await asyncio.wait([future], timeout=self.timeout)
            if not future.done():
                future.cancel()
                raise DisconnectedError(f"{what}: no answer within {self.timeout:g} s")
        if future.cancelled() or (error := future.exception()) is not None:
            error = None if future.cancelled() else error
            raise DisconnectedError(f"{what}: {error or 'the connection is lost'}") from error
        return bytes(future.result())

    async def request(self, request: Any, what: str, *, batch: bool = False) -> bytes:
        """Send one request and return the undecoded body of its response."""
        async with self.bounded(what, batch=batch):
            return bytes(await self.client.uaclient.session._send_request(request, self.timeout))  # noqa: SLF001 - asyncua would decode it

    async def read(self, nodes: Sequence[ua.NodeId], handles: Sequence[int] | None = None, *, whole: bool = False) -> Columns:
        """Read the Value of all nodes, newest, with both times; ``whole`` = in one request, however many they are."""
        return await self.read_ids([ua.ReadValueId(node, ua.AttributeIds.Value) for node in nodes], handles, whole=whole)

    async def read_ids(
        self, wanted: Sequence[ua.ReadValueId], handles: Sequence[int] | None = None, *, whole: bool = False
    ) -> Columns:
        """Read any attributes, or parts of values; one row for each."""
        numbers = list(handles if handles is not None else range(len(wanted)))
        out = Columns()

        async def rows_of(chunk: Sequence[tuple[ua.ReadValueId, int]]) -> Columns:
            request = ua.ReadRequest()
            request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
            request.Parameters.NodesToRead = [item for item, _ in chunk]
            try:
                body = await self.request(request, "read", batch=True)
                async with self.bounded("read", batch=True):
                    status, rows = read_response(body, [number for _, number in chunk])
                    ua.StatusCode(status).check()
            except UaStatusCodeError as error:
                if len(chunk) > 1:
                    raise
                return _unreadable(chunk[0][1], error.code)
            except DisconnectedError as error:
                if not isinstance(error.__cause__, DecodeError):
                    raise
                if len(chunk) == 1:
                    return _unreadable(chunk[0][1], ua.StatusCodes.BadDecodingError)
                # One value that nobody can decode must not take the others with it: halves, down to the culprit.
                middle = len(chunk) // 2
                rows = await rows_of(chunk[:middle])
                rows.extend(await rows_of(chunk[middle:]))
            return rows

        async def one(chunk: Sequence[tuple[ua.ReadValueId, int]]) -> Sequence[None]:
            out.extend(await rows_of(chunk))
            return [None] * len(chunk)

        pairs = list(zip(wanted, numbers, strict=True))
        done = 0 if whole else await read_small(self, self._read_size, self.profile.abreast, pairs, out)
        smaller = await self.in_batches(one, pairs[done:], len(wanted) if whole else self._read_size)
        self._read_size = min(self._read_size, smaller)
        return out

    async def in_batches(self, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]], items: Sequence[T], size: int) -> int:
        """Call with at most ``size`` items at a time, halving it when the server says that it is too much.

        Returns the largest size to use from now on.
        """
        at, size, allowed = 0, max(size, 1), _AT_MOST
        while at < len(items):
            chunk = items[at : at + size]
            try:
                async with self._turn if self.profile.serial else contextlib.nullcontext():
                    answers = await call(chunk)
            except UaStatusCodeError as error:
                if len(chunk) == 1:
                    raise DisconnectedError(f"the server refuses a single operation: {status_text(error.code)}") from error
                size = allowed = len(chunk) // 2
                self._log.info("opcua.smaller_requests", operations=size)
                continue
            if len(answers) != len(chunk):
                raise DisconnectedError(f"{len(chunk)} operations asked for, {len(answers)} answered")
            at += len(chunk)
        return allowed

    async def monitor(self, subscription: int, wanted: Sequence[ua.MonitoredItemCreateRequest]) -> list[Created]:
        """Create monitored items; one result for each."""
        done = await create_small(self, self._monitor_size, self.profile.abreast, subscription, wanted)
        left = [place for place in range(len(wanted)) if place not in done]
        done.update(zip(left, await self._monitor_one_by_one(subscription, [wanted[place] for place in left]), strict=True))
        return [done[place] for place in range(len(wanted))]

    async def _monitor_one_by_one(self, subscription: int, wanted: Sequence[ua.MonitoredItemCreateRequest]) -> list[Created]:
        """Create items by one request after another (some servers count what is outstanding)."""
        out: list[Created] = []

        async def one(chunk: Sequence[ua.MonitoredItemCreateRequest]) -> Sequence[Created]:
            params = ua.CreateMonitoredItemsParameters(subscription, ua.TimestampsToReturn.Both, list(chunk))
            request = ua.CreateMonitoredItemsRequest(Parameters=params)
            try:
                body = await self.request(request, "create monitored items", batch=True)
                async with self.bounded("create monitored items", batch=True):
                    status, results = create_items_response(body)
                    ua.StatusCode(status).check()
            except UaStatusCodeError as error:
                if len(chunk) > 1:
                    raise
                results = [Created(error.code, 0, 0.0, 0)]
            except DisconnectedError as error:
                if (code := refusal(error)) is None:
                    raise
                results = [Created(code, 0, 0.0, 0)] * len(chunk)
            out.extend(results)
            return results

        self._monitor_size = min(self._monitor_size, await self.in_batches(one, wanted, self._monitor_size))
        return out

    async def create_subscription(self, request: ua.CreateSubscriptionRequest) -> ua.CreateSubscriptionResult:
        """Create a subscription without starting the library's own publish loop."""
        body = await self.request(request, "create subscription")
        async with self.bounded("create subscription"):
            response = struct_from_binary(ua.CreateSubscriptionResponse, ua.utils.Buffer(body))
            response.ResponseHeader.ServiceResult.check()
            result: ua.CreateSubscriptionResult = response.Parameters
        return result

    async def forget(self, subscription: int, monitored: Sequence[int]) -> None:
        """Delete monitored items; one that the server does not know any more is gone already."""

        async def one(chunk: Sequence[int]) -> Sequence[ua.StatusCode]:
            params = ua.DeleteMonitoredItemsParameters(subscription, list(chunk))
            async with self.bounded("delete monitored items", batch=True):
                return await self.client.uaclient.session.delete_monitored_items(params)

        await self.in_batches(one, monitored, self._monitor_size)

    async def write(self, node: ua.NodeId, value: ua.Variant) -> int:
        """Write one value without status and times (many servers refuse those); returns the status code. The guard decides first."""
        request = ua.WriteRequest()
        request.Parameters.NodesToWrite = [ua.WriteValue(node, ua.AttributeIds.Value, None, ua.DataValue(value, None))]
        body = await self.request(request, "write")
        async with self.bounded("write"):
            response = struct_from_binary(ua.WriteResponse, ua.utils.Buffer(body))
            response.ResponseHeader.ServiceResult.check()
            if len(response.Results) != 1:
                raise DisconnectedError(f"write: {len(response.Results)} results for one value")
        return int(response.Results[0].value)

    async def republish(self, subscription: int, sequence: int) -> Message | None:
        """Return a notification that was lost on the way, None when the server has it no more."""
        request = ua.RepublishRequest(Parameters=ua.RepublishParameters(subscription, sequence))
        try:
            async with deadline(self.timeout):
                body = bytes(await self.client.uaclient.session._send_request(request, self.timeout))  # noqa: SLF001
            status, message = republish_response(body)
        except (UaError, DecodeError) as error:
            self._log.info("opcua.republish_failed", sequence=sequence, error=str(error))
            return None
        except (TimeoutError, OSError) as error:
            raise DisconnectedError(f"republish: {error or 'no answer in time'}") from error
        return message if not status >> 31 and message is not None and message.sequence == sequence else None
