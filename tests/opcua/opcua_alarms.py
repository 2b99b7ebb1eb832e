"""An alarm system for the tests: conditions on an asyncua server, and the events that speak of the subscription itself."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from asyncua import ua
from asyncua.common import event_objects
from opcua_plant import Plc

SERVER = ua.NodeId(ua.ObjectIds.Server)


class Conditions:
    """The conditions of one server, by name. ``retained`` is what a refresh tells; ``after_start`` is called inside each refresh."""

    def __init__(self, plc: Plc) -> None:
        self.plc = plc
        self.retained: dict[str, Any] = {}
        self.refreshes = 0
        self.answer: ua.StatusCode | None = None
        self.ends = True
        self.overflow_inside = 0
        self.emitter = SERVER

    async def start(self) -> None:
        """Let events be subscribed at the Server object, and answer ConditionRefresh."""
        node = self.plc.server.get_node(SERVER)
        await node.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
        session = self.plc.server.iserver.isession
        session.add_method_callback(ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh), self._refresh)

    async def _refresh(self, parent: Any, subscription: ua.Variant) -> Any:
        if self.answer is not None:
            return self.answer
        self.refreshes += 1
        await self.special(ua.ObjectIds.RefreshStartEventType, subscription.Value)
        if self.overflow_inside > 0:
            self.overflow_inside -= 1
            await self.special(ua.ObjectIds.EventQueueOverflowEventType)
        for event in self.retained.values():
            await self._send(event, subscription.Value)
        if self.ends:
            await self.special(ua.ObjectIds.RefreshEndEventType, subscription.Value)
        return []

    async def special(self, kind: int, subscription: int | None = None) -> None:
        """Send an event without a condition."""
        event = event_objects.BaseEvent(SERVER, "special", 1)
        event.EventType, event.emitting_node, event.EventId = ua.NodeId(kind), SERVER, uuid.uuid4().bytes
        await self._send(event, subscription)

    async def say(self, name: str, *, kind: int = ua.ObjectIds.AlarmConditionType, **fields: Any) -> Any:
        """Let condition ``name`` change: ``active``, ``acked``, ``severity``, ``since`` and whatever else a test wants to say of it."""
        event = event_objects.AlarmCondition(SERVER, fields.pop("message", f"{name} is bad"), fields.pop("severity", 700))
        now = dt.datetime.now(dt.UTC)
        active, acked = fields.pop("active", True), fields.pop("acked", False)
        event.EventType, event.emitting_node, event.EventId = ua.NodeId(kind), self.emitter, uuid.uuid4().bytes
        event.SourceName, event.ConditionName, event.Time = "Filler", name, fields.pop("time", now)
        event.Retain = fields.pop("retain", active or not acked)
        event.add_property("NodeId", ua.NodeId(f"Alarms.{name}", self.plc.index), ua.VariantType.NodeId)
        since = fields.pop("since", event.Time)
        for path, value, variant in (
            ("EnabledState/Id", True, ua.VariantType.Boolean), ("ActiveState/Id", active, ua.VariantType.Boolean),
            ("AckedState/Id", acked, ua.VariantType.Boolean), ("ActiveState/TransitionTime", since, ua.VariantType.DateTime),
        ):  # fmt: skip
            event.add_property(path, value, variant)
        for path, (value, variant) in fields.pop("more", {}).items():
            event.add_property(path, value, variant)
        assert not fields, fields
        if event.Retain:
            self.retained[name] = event
        else:
            self.retained.pop(name, None)
        await self._send(event)
        return event

    async def source(self, name: str) -> None:
        """Let the conditions be those of an object of their own; what speaks of refreshes stays at the Server object, as in some stacks."""
        node = await self.plc.server.nodes.objects.add_object(ua.NodeId(name, self.plc.index), f"{self.plc.index}:{name}")
        await node.set_event_notifier([ua.EventNotifier.SubscribeToEvents])
        self.emitter = node.nodeid

    async def raw(self, values: Mapping[int, Any], size: int) -> None:
        """Send fields that mean nothing, in any number."""
        for subscription in self.plc.server.iserver.subscription_service.subscriptions.values():
            for mids in subscription.monitored_item_srv._monitored_events.values():
                for mid in mids:
                    fields = ua.EventFieldList()
                    fields.ClientHandle = 0
                    fields.EventFields = [values.get(place, ua.Variant(None)) for place in range(size)]
                    await subscription.enqueue_event(mid, fields, 1000)

    async def _send(self, event: Any, subscription: int | None = None) -> None:
        known = self.plc.server.iserver.subscription_service.subscriptions
        for number, one in known.items():
            if subscription is None or number == subscription:
                await one.monitored_item_srv.trigger_event(event)
