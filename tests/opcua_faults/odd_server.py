"""An OPC UA server that does wrong what `odd_faults` says, and counts every service that anybody asks of it.

Everything is its own: an independent witness needs no library of the accused. Only what is asked once per connection is
decoded and encoded by asyncua, whose own server cannot misbehave.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter, defaultdict

from odd_faults import (
    BAD_RESPONSE_TOO_LARGE,
    BAD_SECURE_CHANNEL_ID_INVALID,
    BAD_SERVICE_UNSUPPORTED,
    BAD_SESSION_ID_INVALID,
    BAD_TOO_MANY_OPERATIONS,
    LIMITS,
    Faults,
)
from odd_services import SERVICES, WRITING, RefusedError, Service, standard_nodes
from odd_session import Connection, Publish, Session
from odd_subscription import Item, Subscription
from odd_wire import Cursor, Key, Sample, now, octets, response, sample, u32

URI = "urn:edge-agent:odd-plc"
NOWHERE = 999
"""Where the variables are while their namespace is not there."""


class OddServer:
    """`start`, set variables with `put`, set `faults`; `stop` and `start` again is a restart that forgets sessions and keeps variables."""

    def __init__(self, port: int = 0, namespaces: tuple[str, ...] = ("http://opcfoundation.org/UA/", "urn:odd", URI)) -> None:
        self.port = port
        self.namespaces = namespaces
        self.faults = Faults()
        self.variables: dict[Key, Sample] = {}
        self.requests: Counter[str] = Counter()
        self.largest: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.sessions: dict[int, Session] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.watching: dict[Key, list[tuple[Subscription, Item]]] = defaultdict(list)
        self.registered: dict[Key, Key] = {}
        self.unreadable: set[Key] = set()
        self.history: dict[Key, list[Sample]] = defaultdict(list)
        self.points: set[bytes] = set()
        self.started = now()
        self.numbers = iter(range(1, 1 << 31))
        self._server: asyncio.Server | None = None

    # -- for the test --------------------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """The namespace index of `URI` now."""
        return self.namespaces.index(URI) if URI in self.namespaces else NOWHERE

    @property
    def writes(self) -> int:
        """How many requests came that change something in a plant."""
        return sum(self.requests[name] for name in WRITING)

    def put(self, name: str, new: Sample) -> None:
        """Change a variable: every item that watches it samples the change."""
        key = (self.index, name)
        self.variables[key] = new
        self.history[key].append(new)
        for subscription, item in self.watching.get(key, ()):
            subscription.push(item, new)

    def value(self, name: str, kind: int, value: object) -> None:
        """Change a variable to an ordinary value of now."""
        self.put(name, sample(kind, value))

    def refuse_reading(self, name: str) -> None:
        """Have a variable whose value is too large for any response."""
        self.value(name, 8, 0)
        self.unreadable.add((self.index, name))

    def put_standard(self, number: int) -> None:
        """Let the items that watch a standard node sample it now."""
        found = self.sample_of((0, number))
        for subscription, item in self.watching.get((0, number), ()):
            if found is not None:
                subscription.push(item, found)

    async def start(self) -> None:
        """Listen; a port of 0 becomes the one that was free."""
        self.started = now()
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die like a PLC without power: no goodbye, no session left."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for session in list(self.sessions.values()):
            self.end_session(session)
        while self.connections:  # noqa: ASYNC110 - the transports tell nobody else
            await asyncio.sleep(0)

    def move_namespaces(self, namespaces: tuple[str, ...]) -> None:
        """Number the namespaces differently, as servers do after a restart; the variables move with theirs."""
        old, self.namespaces = self.index, namespaces
        self.variables = {((self.index if key[0] == old else key[0]), key[1]): value for key, value in self.variables.items()}

    def cut(self) -> None:
        """Cut every connection; sessions stay."""
        for connection in list(self.connections):
            connection.abort()

    def end_session(self, session: Session, *, everything: bool = True) -> None:
        """Forget a session, and with ``everything`` its subscriptions."""
        self.sessions.pop(session.token, None)
        session.waiting.clear()
        for subscription in [one for one in self.subscriptions.values() if one.session is session and everything]:
            subscription.delete()

    def fail_publish(self, code: int) -> None:
        """Answer one waiting PublishRequest of each session with a fault."""
        for session in self.sessions.values():
            if session.waiting:
                publish = session.waiting.popleft()
                publish.answer(response(397, publish.handle, code))

    # -- for the connections -------------------------------------------------------------------------------------

    def sample_of(self, key: Key) -> Sample | None:
        """Return what a node has now, None where there is no such node."""
        key = self.registered.get(key, key)
        if key[0] == 0:
            return standard_nodes(self, key[1])
        return None if self.faults.late or key[1] in self.faults.missing else self.variables.get(key)

    def open_channel(self, connection: Connection, cursor: Cursor, request: int) -> None:
        """Open or renew a channel."""
        cursor.node(), cursor.node(), cursor.i64()
        handle = cursor.u32()
        cursor.u32(), cursor.text(), cursor.u32(), cursor.extension(), cursor.u32()
        if cursor.u32() == 1:
            if not self.faults.renew:
                connection.refuse(BAD_SECURE_CHANNEL_ID_INVALID)
                return
            connection.token += 1
        else:
            connection.channel = next(self.numbers)
        body = response(449, handle) + u32(0, connection.channel, connection.token) + struct.pack("<q", now())
        connection.opened(request, body + u32(self.faults.channel_lifetime) + octets(b""))

    def request(self, connection: Connection, number: int, body: bytes) -> None:
        """Answer one request, late, wrongly or with a fault, as `faults` wants it."""
        cursor = Cursor(body)
        service = SERVICES.get(int(cursor.node()[1]))
        token, _, handle = cursor.node(), cursor.i64(), cursor.u32()
        cursor.u32(), cursor.text(), cursor.u32(), cursor.extension()
        name = service.name if service is not None else "unknown"
        self.requests[name] += 1
        crowded = connection.busy > 0 and name in LIMITS.values()
        if crowded and self.faults.alone == "cut":
            connection.abort()
            return
        answer = connection.in_turn(number) if name in LIMITS.values() else connection.answerer(number)
        if crowded and self.faults.alone:
            answer(response(397, handle, BAD_TOO_MANY_OPERATIONS))
            return
        try:
            body_of = self._serve(service, connection, int(token[1]), cursor, Publish(handle, (), answer))
        except RefusedError as refused:
            answer(response(397, handle, refused.code))
            return
        if service is None or body_of is None:
            return
        out = response(service.answer, handle) + body_of
        if connection.fits and len(out) > connection.fits:
            out = response(397, handle, BAD_RESPONSE_TOO_LARGE)
        if name in self.faults.slow:
            asyncio.get_running_loop().call_later(self.faults.slow[name], answer, out)
        else:
            answer(out)

    def _serve(self, service: Service | None, connection: Connection, token: int, cursor: Cursor, request: Publish) -> bytes | None:
        if service is None or service.serve is None:
            raise RefusedError(BAD_SERVICE_UNSUPPORTED)
        if code := self.faults.refuse.get(service.name, 0):
            raise RefusedError(code)
        session = self._session(token) if service.needs_session else None
        return service.serve(self, connection, session, cursor, request)

    def _session(self, token: int) -> Session:
        """Return the session of a token; those that nobody asked for in time are gone."""
        clock = asyncio.get_running_loop().time()
        for session in list(self.sessions.values()):
            if clock - session.heard > session.timeout:
                self.end_session(session)
        session = self.sessions.get(token)
        if session is None:
            raise RefusedError(BAD_SESSION_ID_INVALID)
        session.heard = clock
        return session
