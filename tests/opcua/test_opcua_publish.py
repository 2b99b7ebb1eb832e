"""The publish loop against a scripted session: sequence numbers, holes, faults, liveness; and the guard's bounds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import struct_to_binary

from edge_agent.drivers.opcua.guard import READING, Guard, GuardedProtocol
from edge_agent.drivers.opcua.inbox import Receipt
from edge_agent.drivers.opcua.pace import Pace
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.subscribe import PublishLoop, ahead, following
from edge_agent.drivers.opcua.wire import Message
from edge_agent.model.errors import DisconnectedError

logging.getLogger("asyncua").setLevel(logging.CRITICAL)
LAST = 2**32 - 1


class Script:
    """A session whose PublishRequests the test answers, and a subscriber that keeps what it gets."""

    def __init__(self) -> None:
        self.waiting: list[tuple[ua.PublishRequest, asyncio.Future[Any]]] = []
        self.kept: dict[int, Message] = {}
        self.asked: list[int] = []
        self.got: list[object] = []
        self.client = SimpleNamespace(server_url=SimpleNamespace(netloc="test"))
        self.arrived = asyncio.Event()

    def publish(self, request: ua.PublishRequest) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((request, future))
        return future

    async def republish(self, _: int, sequence: int) -> Message | None:
        self.asked.append(sequence)
        return self.kept.get(sequence)

    def notified(self, rows: Columns, receipt: Receipt) -> None:
        self.got += rows.values
        self.got.append(receipt.sequence)

    def hole(self, missing: int) -> None:
        self.got.append(f"hole {missing}")

    def status(self, code: int) -> None:
        self.got.append(f"status {code:08X}")

    async def answer(self, response: Any) -> list[tuple[int, int]]:
        """Answer the oldest request with a response or an error, let the loop work, and return the request's acknowledgements."""
        request, future = self.waiting.pop(0)
        if isinstance(response, Exception):
            future.set_exception(response)
        else:
            future.set_result(Buffer(response if isinstance(response, bytes) else struct_to_binary(response)))
        for _ in range(6):
            await asyncio.sleep(0)
        return [(ack.SubscriptionId, ack.SequenceNumber) for ack in request.Parameters.SubscriptionAcknowledgements]


def message(sequence: int, *values: int, subscription: int = 7, status: int | None = None) -> ua.PublishResponse:
    """Return a response with values; without any it is a keep-alive."""
    items = [ua.MonitoredItemNotification(0, ua.DataValue(ua.Variant(value, ua.VariantType.Int32))) for value in values]
    parts: list[Any] = [ua.DataChangeNotification(items)] if values else []
    if status is not None:
        parts.append(ua.StatusChangeNotification(ua.StatusCode(status)))
    return ua.PublishResponse(
        Parameters=ua.PublishResult(subscription, [], False, ua.NotificationMessage(sequence, datetime.now(UTC), parts))
    )


def fault(code: int) -> ua.ServiceFault:
    """Return a service fault."""
    return ua.ServiceFault(ResponseHeader=ua.ResponseHeader(ServiceResult=ua.StatusCode(code)))


@contextlib.asynccontextmanager
async def running(
    pace: Pace | None = None, keep_alive: float = 5.0
) -> AsyncIterator[tuple[Script, PublishLoop, asyncio.Task[None]]]:
    """Run a loop with one subscription on a script."""
    script = Script()
    loop = PublishLoop(script, pace or Pace())  # type: ignore[arg-type]
    loop.add(7, script, keep_alive)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    try:
        yield script, loop, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("number", "after"), [(1, 2), (LAST - 1, LAST), (LAST, 1)])
def test_sequence_numbers_wrap_to_one(number: int, after: int) -> None:
    """Zero is never a sequence number."""
    assert following(number) == after
    assert ahead(after, number) == 1
    assert ahead(number, after) == -1
    assert ahead(number, number) == 0


async def test_several_requests_wait_at_the_server() -> None:
    """Four requests are outstanding, and an answered one is renewed at once."""
    async with running() as (script, _, _):
        assert len(script.waiting) == 4
        await script.answer(message(1, 10))
        assert len(script.waiting) == 4
        assert script.got == [10, 1]


async def test_accepted_messages_are_acknowledged_by_a_later_request() -> None:
    """Nothing is acknowledged by itself; an accepted receipt rides on the next request that is sent."""
    async with running() as (script, loop, _):
        for sequence in (1, 2, 3, 4, 5):
            assert await script.answer(message(sequence, sequence)) == []
        loop.accept(Receipt(7, 1))
        loop.accept(Receipt(7, 2))
        acks = [await script.answer(message(sequence)) for sequence in (6, 6, 6, 6, 6)]
        assert acks == [[], [], [], [], [(7, 1), (7, 2)]]


async def test_a_hole_is_filled_in_order() -> None:
    """Missing messages are asked for again and delivered before the one that showed the hole."""
    async with running() as (script, _, _):
        rows = Columns()
        rows.append(0, value=20)
        script.kept[2] = Message(2, 0, rows, (), False)
        await script.answer(message(1, 10))
        await script.answer(message(3, 30))
        assert script.got == [10, 1, 20, 2, 30, 3]
        assert script.asked == [2]


async def test_a_keep_alive_shows_a_hole_too() -> None:
    """A keep-alive carries the next number: if that is ahead, messages are missing, and what cannot be had is declared."""
    async with running() as (script, _, _):
        await script.answer(message(1, 10))
        await script.answer(message(4))
        await script.answer(message(4, 40))
        assert script.got == [10, 1, "hole 2", 40, 4]


async def test_a_repeated_message_is_dropped_and_acknowledged() -> None:
    """A message seen before brings no rows, and the server need not keep it."""
    async with running(Pace(requests=1)) as (script, _, _):
        for response in (message(1, 10), message(1, 10), message(2, 20)):
            await script.answer(response)
        assert script.got == [10, 1, 20, 2]
        acks = [await script.answer(message(3)) for _ in range(3)]
        assert [(7, 1)] in acks


async def test_an_undecodable_message_becomes_a_hole() -> None:
    """Garbage is not delivered; the next number shows that a message is missing."""
    async with running() as (script, _, _):
        good = struct_to_binary(message(1, 10))
        await script.answer(good[: len(good) - 9])
        await script.answer(message(2, 20))
        assert script.asked == [1]
        assert script.got == ["hole 1", 20, 2]


async def test_too_many_requests_are_reduced() -> None:
    """A server that takes one request only is left with one."""
    async with running() as (script, _, task):
        for _ in range(3):
            await script.answer(fault(ua.StatusCodes.BadTooManyPublishRequests))
        while len(script.waiting) > 1:
            await script.answer(message(1))
        await script.answer(message(1, 10))
        assert len(script.waiting) == 1
        assert script.got == [10, 1]
        assert not task.done()


@pytest.mark.parametrize(
    "response",
    [
        fault(ua.StatusCodes.BadNoSubscription),
        fault(ua.StatusCodes.BadSessionIdInvalid),
        fault(ua.StatusCodes.BadSecureChannelIdInvalid),
        message(1, status=ua.StatusCodes.BadTimeout),
        ConnectionError("gone"),
    ],
)
async def test_the_end_of_subscription_or_session_is_a_lost_connection(response: Any) -> None:
    """Every way in which a server says that it is over raises DisconnectedError."""
    async with running() as (script, _, task):
        await script.answer(response)
        with pytest.raises(DisconnectedError):
            await task


async def test_another_status_change_is_told_and_survived() -> None:
    """A status change that does not end the subscription reaches the device."""
    async with running() as (script, _, task):
        await script.answer(message(1, status=ua.StatusCodes.BadNodeIdUnknown))
        assert script.got == ["status 80340000", 1]
        assert not task.done()


async def test_silence_is_a_lost_connection_also_beside_a_talking_subscription() -> None:
    """Each subscription has to speak in its own time."""
    async with running(Pace(patience=0.05), keep_alive=0.1) as (script, loop, task):
        loop.add(8, script, 30.0)
        while not task.done():
            await script.answer(message(1, subscription=8))
            await asyncio.sleep(0.01)
        with pytest.raises(DisconnectedError, match="keep-alive"):
            await task


# -- the guard ---------------------------------------------------------------------------------------------------


def test_every_service_that_changes_something_is_refused() -> None:
    """Of all requests that the library knows, only the listed reading ones pass."""
    requests = [kind for name, kind in vars(ua).items() if name.endswith("Request") and isinstance(kind, type)]
    passed = set()
    for kind in requests:
        with contextlib.suppress(PermissionError, TypeError):
            Guard().check(kind())
            passed.add(kind.__name__)
    assert passed == {kind.__name__ for kind in READING}
    forbidden = ("Write", "Call", "AddNodes", "AddReferences", "Delete", "HistoryUpdate", "RegisterServer")
    assert not [
        name
        for name in passed
        if name.startswith(forbidden) and name not in {"DeleteSubscriptionsRequest", "DeleteMonitoredItemsRequest"}
    ]


def write(*values: ua.WriteValue) -> ua.WriteRequest:
    """Return a WriteRequest."""
    request = ua.WriteRequest()
    request.Parameters.NodesToWrite = list(values)
    return request


ACK, OTHER = ua.NodeId("Ack", 2), ua.NodeId("Other", 2)


@pytest.mark.parametrize(
    "request_",
    [
        write(),
        write(ua.WriteValue(OTHER, ua.AttributeIds.Value)),
        write(ua.WriteValue(ACK, ua.AttributeIds.Value), ua.WriteValue(OTHER, ua.AttributeIds.Value)),
        write(ua.WriteValue(ACK, ua.AttributeIds.AccessLevel)),
        write(ua.WriteValue(ACK, ua.AttributeIds.Value, "0:1")),
        write(ua.WriteValue(ua.NodeId("Ack", 3), ua.AttributeIds.Value)),
    ],
)
def test_a_write_of_anything_but_the_acknowledgement_is_refused(request_: ua.WriteRequest) -> None:
    """Another node, another attribute, part of a value, or one wrong node beside a right one: nothing of it is sent."""
    guard = Guard()
    guard.acknowledgements = frozenset({ACK})
    guard.check(write(ua.WriteValue(ACK, ua.AttributeIds.Value)))
    with pytest.raises(PermissionError, match="is not sent"):
        guard.check(request_)


class Wire(asyncio.Transport):
    """A transport that remembers what happened to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("chunks", "aborted"),
    [
        ([b"MSGF" + (70_000).to_bytes(4, "little")], True),
        ([b"MSGF" + (3).to_bytes(4, "little")], True),
        ([b"MSGC" + (60_000).to_bytes(4, "little") + bytes(59_992)] * 300, True),
        ([b"MSGF" + (60_000).to_bytes(4, "little"), bytes(100)], False),
    ],
)
async def test_giant_messages_end_the_connection_before_they_are_kept(
    chunks: list[bytes], aborted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk or a message announced above the limits closes the socket; what is within them waits for its rest."""
    from asyncua.client.ua_client import UASocketProtocol

    monkeypatch.setattr(UASocketProtocol, "data_received", lambda self, data: None)
    protocol = GuardedProtocol(Guard(), 1.0, SecurityPolicyNone())
    wire = Wire()
    protocol.connection_made(wire)
    for chunk in chunks:
        if not wire.aborted:
            protocol.data_received(chunk)
    assert wire.aborted is aborted
    assert len(protocol._pending) < 70_000


async def test_a_refused_request_leaves_no_byte() -> None:
    """The guard stands before the encoding: the transport sees nothing."""
    protocol = GuardedProtocol(Guard(), 1.0, SecurityPolicyNone())
    wire = Wire()
    protocol.connection_made(wire)
    with pytest.raises(PermissionError):
        protocol._send_request(ua.CallRequest())
    assert wire.written == b""


class Doubting(Script):
    """A subscriber that takes note of what it is told about its subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def silent(self) -> None:
        """Take note."""
        self.told.append("silent")

    def caught_up(self) -> None:
        """Take note."""
        self.told.append("caught up")


@contextlib.asynccontextmanager
async def taken_over(within: float, keep_alive: float = 3.0) -> AsyncIterator[tuple[Doubting, asyncio.Task[None]]]:
    """Run a loop with a subscription of another session that has ``within`` seconds for its first word, and three for each other."""
    script = Doubting()
    loop = PublishLoop(script, Pace(patience=0.0))  # type: ignore[arg-type]
    loop.take_over(7, script, keep_alive, 5, within)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    try:
        yield script, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_subscription_that_says_nothing_after_it_was_taken_over_is_doubted_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so also when the timer goes off a little early, as uvloop's do: it was taken over again and again, ten seconds each time."""
    loop = asyncio.get_running_loop()
    real = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda when, *rest, **more: real(when - 0.01, *rest, **more))
    async with taken_over(within=0.05) as (script, task):
        with pytest.raises(DisconnectedError, match="no publish response"):
            await task
        assert script.told == ["silent"]


async def test_after_its_first_word_a_subscription_has_its_keep_alive_time() -> None:
    """The short time is for the first word only: a subscription with nothing to say is not dead."""
    async with taken_over(within=0.05) as (script, task):
        await script.answer(message(5, 1))
        assert script.told == ["caught up"]
        await asyncio.sleep(0.2)
        assert not task.done()


async def test_a_subscription_that_has_spoken_after_it_was_taken_over_is_not_doubted_when_the_link_dies() -> None:
    """A cable that fails twice within a minute is no server that only pretends: the next connection goes on once more."""
    async with taken_over(within=0.05, keep_alive=0.1) as (script, task):
        await script.answer(message(5, 1))
        with pytest.raises(DisconnectedError, match="no publish response"):
            await asyncio.wait_for(task, 10)
        assert script.told == ["caught up"]
