"""Requests encoded by hand: the same bytes as asyncua's, and the guard before them too."""

from __future__ import annotations

# mypy: disable-error-code="attr-defined,arg-type,no-untyped-call"
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary, struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.opcua.encode import Ready, create_items_request, read_request
from edge_agent.drivers.opcua.guard import Guard, GuardedProtocol

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
NANOSECONDS = int(NOW.timestamp()) * 10**9 + 123456000
SPACES, TEXTS = st.integers(0, 2**16 - 1), st.text(min_size=1, max_size=8)
NODES = st.one_of(
    st.builds(ua.NodeId, st.integers(0, 2**32 - 1), SPACES),
    st.builds(ua.NodeId, TEXTS, SPACES),
    st.builds(ua.NodeId, st.binary(min_size=1, max_size=8), SPACES),
    st.builds(lambda number, space: ua.NodeId(uuid.UUID(int=number), space), st.integers(0, 2**128 - 1), SPACES),
)
VALUE_IDS = st.builds(ua.ReadValueId, NODES, st.integers(1, 27).map(ua.AttributeIds), st.none() | TEXTS)
FILTERS = st.none() | st.floats(0, 1e9).map(
    lambda raw: ua.DataChangeFilter(ua.DataChangeTrigger.StatusValue, ua.DeadbandType.Absolute, raw)
)


def parameters(handle: int, every: float, chosen: ua.DataChangeFilter | None, queue: int) -> ua.MonitoringParameters:
    """Return what an item is asked for."""
    return ua.MonitoringParameters(handle, every, chosen, queue, DiscardOldest=True)


PARAMETERS = st.builds(parameters, st.integers(0, 2**32 - 1), st.floats(0, 1e9), FILTERS, st.integers(0, 10_000))
ITEMS = st.builds(
    lambda node, asked: ua.MonitoredItemCreateRequest(node, ua.MonitoringMode.Reporting, asked), VALUE_IDS, PARAMETERS
)


def same(ready: Ready, request: Any) -> bool:
    """Whether both are the same bytes under the same header."""
    token = ua.NodeId(b"secret", 3)
    header = request.RequestHeader
    header.AuthenticationToken, header.Timestamp, header.RequestHandle, header.TimeoutHint = token, NOW, 17, 4000
    return ready.message(nodeid_to_binary(token), 17, 4.0, NANOSECONDS) == struct_to_binary(request)


@given(st.lists(VALUE_IDS, max_size=5))
def test_a_read_is_encoded_as_asyncua_does(wanted: list[ua.ReadValueId]) -> None:
    """Whatever nodes, attributes and ranges are read, the bytes are those of the library."""
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.NodesToRead = wanted
    assert same(read_request(wanted), request)


@given(st.integers(0, 2**32 - 1), st.lists(ITEMS, max_size=5))
def test_items_are_encoded_as_asyncua_does(subscription: int, wanted: list[ua.MonitoredItemCreateRequest]) -> None:
    """Whatever items are created, with a deadband or without, the bytes are those of the library."""
    params = ua.CreateMonitoredItemsParameters(subscription, ua.TimestampsToReturn.Both, wanted)
    assert same(create_items_request(subscription, wanted), ua.CreateMonitoredItemsRequest(Parameters=params))


@pytest.mark.parametrize(
    "service", [ua.ObjectIds.WriteRequest_Encoding_DefaultBinary, ua.ObjectIds.CallRequest_Encoding_DefaultBinary, 0]
)
async def test_no_other_request_leaves_by_hand(service: int) -> None:
    """The guard stands before encoded requests too: one that does not only read raises, and no byte of the whole batch leaves."""
    from asyncua.crypto.security_policies import SecurityPolicyNone

    sent: list[bytes] = []

    class Wire:
        def write(self, data: bytes) -> None:
            sent.append(data)

    protocol = GuardedProtocol(Guard(insecure=True), 1.0, SecurityPolicyNone())
    protocol.transport = Wire()  # type: ignore[assignment]  # nothing else of it is used
    read = read_request([ua.ReadValueId(ua.NodeId(2258), ua.AttributeIds.Value)])
    with pytest.raises(PermissionError):
        protocol.send_ready([read, Ready(service, b"")], 1.0)
    assert sent == []
    protocol.send_ready([read, read], 1.0)
    assert len(sent) == 1
    secured = GuardedProtocol(Guard(), 1.0, SecurityPolicyNone())
    secured.transport = Wire()  # type: ignore[assignment]  # nothing else of it is used
    with pytest.raises(PermissionError, match="not secured"):
        secured.send_ready([read], 1.0)
    assert len(sent) == 1
