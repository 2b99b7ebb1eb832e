"""An OPC UA server that behaves like a small PLC's: it can lose its power, and the only thing a client may write is Rec.Ack."""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type,assignment"
# Its server has no seam for power, queues and sessions: asyncua is pinned for the private names used here.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession

from simulators.clock import Clock
from simulators.ledger import Ledger
from simulators.line import Change
from simulators.plc_queue import PlcSubscriptions
from simulators.tags import NAMESPACE, NODES, OTHER_NAMESPACES, Node

_TURNS = 5
"""Turns of the loop in which a connection that was accepted before the port closed becomes a transport."""

_NOBODY = User(role=UserRole.Anonymous)

OnAcknowledge = Callable[[int], Any]


class PlcSession(InternalSession):
    """A client's session: every Write and Call is in the ledger, and none but Rec.Ack gets through."""

    iserver: PlcInternals

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        """Take an acknowledgement; refuse everything else."""
        return [await self.iserver.write_from_client(one) for one in params.NodesToWrite]

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """Refuse: this PLC has no methods of its own."""
        self.iserver.violation("call", [method.MethodId.to_string() for method in params])
        return [ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)) for _ in params]

    async def add_nodes(self, params: list[ua.AddNodesItem]) -> list[ua.AddNodesResult]:
        """Refuse."""
        self.iserver.violation("add_nodes", len(params))
        return [ua.AddNodesResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)) for _ in params]

    async def delete_nodes(self, params: ua.DeleteNodesParameters) -> list[ua.StatusCode]:
        """Refuse."""
        self.iserver.violation("delete_nodes", len(params.NodesToDelete))
        return [ua.StatusCode(ua.StatusCodes.BadUserAccessDenied) for _ in params.NodesToDelete]

    async def add_references(self, params: list[ua.AddReferencesItem]) -> list[ua.StatusCode]:
        """Refuse."""
        self.iserver.violation("add_references", len(params))
        return [ua.StatusCode(ua.StatusCodes.BadUserAccessDenied) for _ in params]

    async def delete_references(self, params: list[ua.DeleteReferencesItem]) -> list[ua.StatusCode]:
        """Refuse."""
        self.iserver.violation("delete_references", len(params))
        return [ua.StatusCode(ua.StatusCodes.BadUserAccessDenied) for _ in params]


class PlcInternals(InternalServer):
    """asyncua's server core with this PLC's sessions and subscriptions."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        super().__init__()
        self.disabled_clock = True  # CurrentTime is the plant's, written by PlcServer
        self.subscription_service = PlcSubscriptions(self.aspace, iserver=self)
        self.isession.subscription_service = self.subscription_service
        self.ack_node: ua.NodeId | None = None
        self.on_acknowledge: OnAcknowledge | None = None
        self._clock = clock
        self._ledger = ledger

    def create_session(self, name: str, user: User = _NOBODY, external: bool = False) -> InternalSession:
        """Make a session; a client's is a `PlcSession`."""
        if not external:
            return super().create_session(name, user)
        return PlcSession(self, self.aspace, self.subscription_service, name, user, external=True)

    def violation(self, what: str, value: Any) -> None:
        """Record that a client tried to change the PLC."""
        self._ledger.write(self._clock.t(), "violation", {what: value})

    async def write_from_client(self, value: ua.WriteValue) -> ua.StatusCode:
        """Take Rec.Ack, refuse everything else."""
        variant = value.Value.Value
        if value.NodeId != self.ack_node or value.AttributeId != ua.AttributeIds.Value:
            self.violation("write", {"node": value.NodeId.to_string(), "attribute": int(value.AttributeId), "value": repr(variant)})
            return ua.StatusCode(ua.StatusCodes.BadNotWritable)
        if variant is None or variant.VariantType != ua.VariantType.UInt32 or variant.is_array:
            return ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        self._ledger.write(self._clock.t(), "write", {"tag": "rec_ack", "value": variant.Value})
        if self.on_acknowledge is not None:
            await self.on_acknowledge(variant.Value)
        return ua.StatusCode()

    async def end_sessions(self) -> None:
        """Forget all clients: transports are reset, sessions and subscriptions are gone."""
        for transport in list(self.asyncio_transports):
            transport.abort()
        for session in list(self._external_sessions.values()):
            await session.close_session(delete_subs=True)


class PlcServer:
    """An address space behind one TCP port: that of `simulators.tags`, or another by tag name."""

    def __init__(
        self,
        host: str,
        port: int,
        clock: Clock,
        ledger: Ledger,
        nodes: Mapping[str, Node] = NODES,
        namespace: str = NAMESPACE,
    ) -> None:
        self._tags, self._namespace = nodes, namespace
        self._host, self._port = host, port
        self._clock = clock
        self._core = PlcInternals(clock, ledger)
        self._server = Server(iserver=self._core)
        self._binary: BinaryServer | None = None
        self._nodes: dict[str, ua.NodeId] = {}

    @property
    def url(self) -> str:
        """The endpoint with its real port."""
        return f"opc.tcp://{self._host}:{self._port}"

    async def build(self, on_acknowledge: OnAcknowledge | None = None) -> None:
        """Make the address space; nothing listens yet."""
        for name in ("asyncua", "asyncio"):  # a client that went away is no news in a fault test
            logging.getLogger(name).setLevel(logging.ERROR)
        await self._server.init()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self._server._permission_ruleset = None  # requests reach PlcSession, which refuses and records them
        for uri in OTHER_NAMESPACES:
            await self._server.register_namespace(uri)
        index = await self._server.register_namespace(self._namespace)
        folders: dict[str, Any] = {}
        for tag, node in self._tags.items():
            parent = await self._folder(folders, node.identifier.rpartition(".")[0], index)
            name = ua.QualifiedName(node.identifier.rpartition(".")[2], index)
            kind = ua.VariantType[node.type]
            variable = await parent.add_variable(ua.NodeId(node.identifier, index), name, node.zero, kind)
            self._nodes[tag] = variable.nodeid
            if tag == "rec_ack":
                await variable.set_writable()
        self._core.ack_node = self._nodes.get("rec_ack")
        self._core.on_acknowledge = on_acknowledge
        await self._server._setup_server_nodes()
        await self._core.start()

    async def _folder(self, folders: dict[str, Any], path: str, index: int) -> Any:
        if not path:
            return self._server.nodes.objects
        if path not in folders:
            parent = await self._folder(folders, path.rpartition(".")[0], index)
            name = ua.QualifiedName(path.rpartition(".")[2], index)
            folders[path] = await parent.add_object(ua.NodeId(path, index), name)
        return folders[path]

    async def power_on(self, t: int) -> None:
        """Listen; the server says that it started at t."""
        await self._tell_time(t, started=True)
        self._binary = BinaryServer(self._core, self._host, self._port, self._server.limits)
        self._binary.set_policies(self._server._policies)
        await self._binary.start()
        self._port = self._binary.port

    async def power_off(self) -> None:
        """Reset all connections and close the port."""
        binary, self._binary = self._binary, None
        if binary is None:
            return
        # The port first: who comes back at once must not find a server that is about to go.
        if binary._server is not None:
            binary._server.close()
        for _ in range(_TURNS):
            await self._core.end_sessions()
            await asyncio.sleep(0)
        await binary.stop()

    async def close(self) -> None:
        """End for good."""
        await self.power_off()
        await self._core.stop()

    async def write(self, changes: Iterable[Change]) -> None:
        """Put values into the address space, in order, with their own source timestamps."""
        for change in changes:
            variant = ua.Variant(change.value, ua.VariantType[self._tags[change.tag].type])
            await self._put(self._nodes[change.tag], variant, ua.StatusCodes.Good, change.t)

    async def write_bad(self, tag: str, status: str, t: int) -> None:
        """Give a tag a Bad status and a null value."""
        await self._put(self._nodes[tag], ua.Variant(None, ua.VariantType.Null), getattr(ua.StatusCodes, status), t)

    async def _put(self, node: ua.NodeId, variant: ua.Variant, status: int, t: int) -> None:
        source, server = self._clock.utc(t), self._clock.utc(self._clock.t())
        value = ua.DataValue(variant, ua.StatusCode(ua.UInt32(status)), source, server)
        # Straight into the address space: the attribute service would stamp it with the machine's time.
        (await self._core.aspace.write_attribute_value(node, ua.AttributeIds.Value, value)).check()

    async def tell_time(self) -> None:
        """Let Server.ServerStatus.CurrentTime show the plant's time."""
        await self._tell_time(self._clock.t(), started=False)

    async def _tell_time(self, t: int, *, started: bool) -> None:
        now = self._clock.utc(t)
        time = ua.Variant(now, ua.VariantType.DateTime)
        status = await self._core.server_status_node.read_value()
        status.CurrentTime = now
        if started:
            status.StartTime = now
            await self._put(ua.NodeId(ua.ObjectIds.Server_ServerStatus_StartTime), time, ua.StatusCodes.Good, t)
        whole = ua.Variant(status, ua.VariantType.ExtensionObject)
        await self._put(ua.NodeId(ua.ObjectIds.Server_ServerStatus), whole, ua.StatusCodes.Good, t)
        await self._put(ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime), time, ua.StatusCodes.Good, t)
