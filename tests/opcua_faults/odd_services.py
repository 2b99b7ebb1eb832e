"""The services of the odd server: decode, do, encode (OPC 10000-4, 5). Each returns the body behind the ResponseHeader, or None when it answers later."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from odd_faults import (
    BAD_ATTRIBUTE_ID_INVALID,
    BAD_MESSAGE_NOT_AVAILABLE,
    BAD_MONITORED_ITEM_ID_INVALID,
    BAD_NO_MATCH,
    BAD_NO_SUBSCRIPTION,
    BAD_NODE_ID_UNKNOWN,
    BAD_RESPONSE_TOO_LARGE,
    BAD_SUBSCRIPTION_ID_INVALID,
    BAD_TOO_MANY_MONITORED_ITEMS,
    BAD_TOO_MANY_OPERATIONS,
    BAD_TOO_MANY_PUBLISH_REQUESTS,
    BAD_TOO_MANY_SESSIONS,
    BAD_TOO_MANY_SUBSCRIPTIONS,
)
from odd_session import NO_SECURITY, Connection, Publish, Session
from odd_subscription import Item, Subscription
from odd_wire import NO_OBJECT, Cursor, Key, Sample, array, node, now, octets, response, sample, u32, variant

if TYPE_CHECKING:
    from odd_server import OddServer

NO_DIAGNOSTICS = u32(0)
LAST = 0xFFFF_FFFF


class RefusedError(Exception):
    """A service is refused as a whole."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code:08X}")
        self.code = code


Serve = Callable[["OddServer", Connection, Session | None, Cursor, Publish], bytes | None]


class Service(NamedTuple):
    """One service: its name, the id of its response, what it does, and whether it needs a session."""

    name: str
    answer: int
    serve: Serve | None
    needs_session: bool = True


def standard_nodes(server: OddServer, number: object) -> Sample | None:
    """Return the standard nodes of namespace 0 that a client looks at."""
    time_ = now() + server.faults.skew // 100
    known: dict[object, Callable[[], Sample]] = {
        2255: lambda: sample(12, list(server.namespaces)),
        2257: lambda: Sample(variant(13, server.started), 0, time_, time_),
        2258: lambda: Sample(variant(13, time_), 0, time_, time_),
        2259: lambda: sample(6, server.faults.state),
    }
    if number in server.faults.limits:
        return sample(7, server.faults.limits[int(str(number))])
    return known[number]() if number in known else None


def _count(server: OddServer, cursor: Cursor, service: str) -> int:
    """Return how many operations are asked for; refuses more than the server takes."""
    count = cursor.u32()
    server.largest[service] = max(server.largest[service], count)
    if 0 < server.faults.takes.get(service, 0) < count:
        raise RefusedError(BAD_TOO_MANY_OPERATIONS)
    return count


def _session_of(session: Session | None) -> Session:
    if session is None:
        raise RefusedError(BAD_NO_SUBSCRIPTION)
    return session


def _rest(cursor: Cursor, kind: type) -> object:
    return struct_from_binary(kind, Buffer(cursor.data[cursor.pos :]))


def _endpoint(server: OddServer) -> ua.EndpointDescription:
    token = ua.UserTokenPolicy(PolicyId="anonymous", TokenType=ua.UserTokenType.Anonymous)
    return ua.EndpointDescription(
        EndpointUrl=f"opc.tcp://127.0.0.1:{server.port}", SecurityMode=ua.MessageSecurityMode.None_, SecurityPolicyUri=NO_SECURITY,
        UserIdentityTokens=[token], TransportProfileUri="http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary",
    )  # fmt: skip


def get_endpoints(server: OddServer, _: Connection, __: Session | None, ___: Cursor, ____: Publish) -> bytes:
    """Say how one may connect: without security."""
    return array([struct_to_binary(_endpoint(server))])


def create_session(server: OddServer, _: Connection, __: Session | None, ___: Cursor, ____: Publish) -> bytes:
    """Begin a session."""
    if len(server.sessions) >= server.faults.most_sessions:
        raise RefusedError(BAD_TOO_MANY_SESSIONS)
    token, timeout = next(server.numbers), server.faults.session_timeout
    server.sessions[token] = Session(token, timeout / 1000, asyncio.get_running_loop().time())
    result = ua.CreateSessionResult(
        SessionId=ua.NodeId(token, 1), AuthenticationToken=ua.NodeId(token, 0), RevisedSessionTimeout=timeout,
        ServerNonce=bytes(32), ServerEndpoints=[_endpoint(server)],
    )  # fmt: skip
    return bytes(struct_to_binary(result))


def activate_session(_: OddServer, connection: Connection, session: Session | None, __: Cursor, ___: Publish) -> bytes:
    """Let anybody in."""
    connection.session = session
    return octets(bytes(32)) + u32(0) + NO_DIAGNOSTICS


def close_session(server: OddServer, _: Connection, session: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """End a session, with its subscriptions or without."""
    server.end_session(_session_of(session), everything=bool(cursor.u8()))
    return b""


def read(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Read values."""
    cursor.f64(), cursor.u32()
    out = []
    for _number in range(_count(server, cursor, "Read")):
        key, attribute = cursor.node(), cursor.u32()
        cursor.text(), cursor.u16(), cursor.text()
        found = server.sample_of(key)
        if key in server.unreadable:
            raise RefusedError(BAD_RESPONSE_TOO_LARGE)
        if found is None:
            found = Sample(b"", BAD_NODE_ID_UNKNOWN)
        elif attribute == 18:
            found = sample(3, 5 if server.faults.history else 1)
        elif attribute != 13:
            found = Sample(b"", BAD_ATTRIBUTE_ID_INVALID)
        out.append(found.encoded())
    return array(out) + NO_DIAGNOSTICS


def history_read(server: OddServer, connection: Connection, _: Session | None, cursor: Cursor, request: Publish) -> bytes | None:
    """Read the raw history of one variable, page by page."""
    details, _body = cursor.extension(), cursor.u32()
    release = cursor.u8()
    assert cursor.u32() == 1
    key = cursor.node()
    cursor.text(), cursor.u16(), cursor.text()
    point = cursor.octets()
    if release:
        server.points.discard(point or b"")
        return array([u32(0) + octets(None) + NO_OBJECT]) + NO_DIAGNOSTICS
    inside = Cursor(details[1] or b"")
    inside.u8()
    start, end = inside.i64(), inside.i64()
    stored = server.history.get(key, [])
    stored = stored[: len(stored) - server.faults.history_lag]
    server.faults.history_lag = max(0, server.faults.history_lag - 1)
    rows = [one for one in stored if start <= (one.source or 0) < end]
    at = int(point or b"0")
    server.points.discard(point or b"")
    page, rest = rows[at : at + server.faults.history_page], rows[at + server.faults.history_page :]
    following = str(at + server.faults.history_page).encode() if rest else None
    if following:
        server.points.add(following)
    data = array(one.encoded() for one in page)
    body = array([u32(0) + octets(following) + b"\x01\x00" + struct.pack("<H", 658) + b"\x01" + octets(data)]) + NO_DIAGNOSTICS
    if not server.faults.history_delay:
        return body
    asyncio.get_running_loop().call_later(server.faults.history_delay, request.answer, response(667, request.handle) + body)
    return None


def translate(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Find nodes by path: the last name of a path is the identifier here."""
    out = []
    for _number in range(_count(server, cursor, "Translate")):
        cursor.node()
        key: Key = (0, 0)
        for _step in range(cursor.u32()):
            cursor.node(), cursor.u8(), cursor.u8()
            key = (cursor.u16(), cursor.text() or "")
        there = server.sample_of(key) is not None
        target = node(key) + u32(LAST)
        out.append(u32(0 if there else BAD_NO_MATCH) + array([target] if there else []))
    return array(out) + NO_DIAGNOSTICS


def register_nodes(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Give nodes short names."""
    out = []
    for _number in range(_count(server, cursor, "RegisterNodes")):
        key = cursor.node()
        short = (server.index, next(server.numbers))
        server.registered[short] = key
        out.append(node(short))
    return array(out)


def create_subscription(server: OddServer, _: Connection, session: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Begin a subscription with what was asked for."""
    interval, lifetime, keep_alive = max(cursor.f64(), 5.0), cursor.u32(), cursor.u32()
    if len(server.subscriptions) >= server.faults.most_subscriptions:
        raise RefusedError(BAD_TOO_MANY_SUBSCRIPTIONS)
    number = next(server.numbers)
    server.subscriptions[number] = Subscription(server, _session_of(session), number, interval, keep_alive, lifetime)
    return u32(number) + ua.ua_binary.Primitives.Double.pack(interval) + u32(lifetime, keep_alive)


def _subscription(server: OddServer, number: int) -> Subscription:
    try:
        return server.subscriptions[number]
    except KeyError:
        raise RefusedError(BAD_SUBSCRIPTION_ID_INVALID) from None


def create_items(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Monitor items; each begins with the value of now."""
    subscription = _subscription(server, cursor.u32())
    cursor.u32()
    out = []
    for _number in range(_count(server, cursor, "CreateMonitoredItems")):
        key, _attribute = cursor.node(), cursor.u32()
        cursor.text(), cursor.u16(), cursor.text(), cursor.u32()
        handle, interval = cursor.u32(), cursor.f64()
        cursor.extension()
        size = min(cursor.u32(), server.faults.most_queue)
        cursor.u8()
        out.append(_create_item(server, subscription, key, handle, interval, size))
    return array(out) + NO_DIAGNOSTICS


def _create_item(server: OddServer, subscription: Subscription, key: Key, handle: int, interval: float, size: int) -> bytes:
    key = server.registered.get(key, key)
    found, code, number = server.sample_of(key), 0, 0
    if found is None:
        code = BAD_NODE_ID_UNKNOWN
    elif sum(len(one.items) for one in server.subscriptions.values()) >= server.faults.most_items:
        code = BAD_TOO_MANY_MONITORED_ITEMS
    else:
        number = next(server.numbers)
        item = subscription.items[number] = Item(number, handle, key, size)
        server.watching[key].append((subscription, item))
        subscription.push(item, found)
    return u32(code, number) + ua.ua_binary.Primitives.Double.pack(interval) + u32(size) + b"\x00\x00\x00"


def delete_items(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Forget items."""
    subscription = _subscription(server, cursor.u32())
    out = []
    for _number in range(cursor.u32()):
        item = subscription.items.get(cursor.u32())
        if item is not None:
            subscription.forget(item)
        out.append(u32(0 if item is not None else BAD_MONITORED_ITEM_ID_INVALID))
    return array(out) + NO_DIAGNOSTICS


def delete_subscriptions(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Forget subscriptions."""
    out = []
    for _number in range(cursor.u32()):
        subscription = server.subscriptions.get(cursor.u32())
        if subscription is not None:
            subscription.delete()
        out.append(u32(0 if subscription is not None else BAD_SUBSCRIPTION_ID_INVALID))
    return array(out) + NO_DIAGNOSTICS


def transfer(server: OddServer, _: Connection, session: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Give subscriptions to another session, with the numbers of what is kept of them."""
    out = []
    for _number in range(cursor.u32()):
        subscription = server.subscriptions.get(cursor.u32())
        if subscription is None:
            out.append(u32(BAD_SUBSCRIPTION_ID_INVALID, 0))
            continue
        subscription.session = _session_of(session)
        subscription.heard()
        if server.faults.initial is not None:
            asyncio.get_running_loop().call_later(server.faults.initial, subscription.tell_again)
        out.append(u32(0, len(subscription.kept), *subscription.kept))
    return array(out) + NO_DIAGNOSTICS


def publish(server: OddServer, _: Connection, session: Session | None, cursor: Cursor, request: Publish) -> None:
    """Take acknowledgements and let the request wait."""
    waiting = _session_of(session).waiting
    results = tuple(_acknowledge(server, cursor.u32(), cursor.u32()) for _number in range(max(cursor.i32(), 0)))
    if not any(one.session is session for one in server.subscriptions.values()):
        raise RefusedError(BAD_NO_SUBSCRIPTION)
    if len(waiting) >= server.faults.most_publish:
        raise RefusedError(BAD_TOO_MANY_PUBLISH_REQUESTS)
    waiting.append(request._replace(results=results))


def _acknowledge(server: OddServer, number: int, sequence: int) -> int:
    subscription = server.subscriptions.get(number)
    if subscription is not None:
        subscription.kept.pop(sequence, None)
    return 0 if subscription is not None else BAD_SUBSCRIPTION_ID_INVALID


def republish(server: OddServer, _: Connection, __: Session | None, cursor: Cursor, ___: Publish) -> bytes:
    """Send a notification again, if it is still there."""
    subscription = _subscription(server, cursor.u32())
    message = subscription.kept.get(cursor.u32()) if server.faults.republish else None
    if message is None:
        raise RefusedError(BAD_MESSAGE_NOT_AVAILABLE)
    return message


SERVICES = {
    428: Service("GetEndpoints", 431, get_endpoints, needs_session=False),
    461: Service("CreateSession", 464, create_session, needs_session=False),
    467: Service("ActivateSession", 470, activate_session),
    473: Service("CloseSession", 476, close_session),
    488: Service("AddNodes", 491, None), 494: Service("AddReferences", 497, None),
    500: Service("DeleteNodes", 503, None), 506: Service("DeleteReferences", 509, None),
    527: Service("Browse", 530, None),
    554: Service("Translate", 557, translate),
    560: Service("RegisterNodes", 563, register_nodes),
    664: Service("HistoryRead", 667, history_read),
    631: Service("Read", 634, read),
    673: Service("Write", 676, None), 700: Service("HistoryUpdate", 703, None), 712: Service("Call", 715, None),
    751: Service("CreateMonitoredItems", 754, create_items),
    781: Service("DeleteMonitoredItems", 784, delete_items),
    787: Service("CreateSubscription", 790, create_subscription),
    826: Service("Publish", 829, publish),
    841: Service("TransferSubscriptions", 844, transfer),
    832: Service("Republish", 835, republish),
    847: Service("DeleteSubscriptions", 850, delete_subscriptions),
}  # fmt: skip
"""Services by the id of the binary encoding of their request (OPC 10000-6, A.3)."""

WRITING = ("Write", "Call", "AddNodes", "AddReferences", "DeleteNodes", "DeleteReferences", "HistoryUpdate")
"""The services that change something in a plant."""
