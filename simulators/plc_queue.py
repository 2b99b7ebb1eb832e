"""Monitored items as a PLC's server has them: bounded queues with the Overflow bit (OPC 10000-4, 5.13.1.5 and 7.22).

asyncua's server takes a queue size of 0 as 10,000 and never sets Overflow. Here 0 and 1 keep the newest value only and set no bit; a
longer queue drops its oldest value (or, with discardOldest false, replaces its newest) and sets InfoType DataValue and Overflow in the
value that now stands where one is missing.
"""

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
# Its server has no seam for power, queues and sessions: asyncua is pinned for the private names used here.
# ruff: noqa: SLF001

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.monitored_item_service import MonitoredItemData, MonitoredItemService
from asyncua.server.subscription_service import SubscriptionService

OVERFLOW = 0x0480
"""InfoType = DataValue (bit 10) and Overflow (bit 7), OPC 10000-4 7.39.1."""

SHORTEST_PUBLISHING_MS = 2.0
LONGEST_QUEUE = 1000


class PlcItems(MonitoredItemService):
    """The items of one subscription."""

    def __init__(self, subscription: InternalSubscription, address_space: Any) -> None:
        super().__init__(subscription, address_space)
        self._discard_oldest: dict[int, bool] = {}

    def _make_monitored_item_common(
        self, params: ua.MonitoredItemCreateRequest
    ) -> tuple[ua.MonitoredItemCreateResult, MonitoredItemData]:
        result, item = super()._make_monitored_item_common(params)
        if params.ItemToMonitor.AttributeId != ua.AttributeIds.EventNotifier:
            item.queue_size = result.RevisedQueueSize = min(max(int(params.RequestedParameters.QueueSize), 1), LONGEST_QUEUE)
        self._discard_oldest[result.MonitoredItemId] = bool(params.RequestedParameters.DiscardOldest)
        return result, item

    async def datachange_callback(self, handle: int, value: ua.DataValue, error: ua.StatusCode | None = None) -> None:
        """Queue a value of the item behind ``handle``; the value is written once and never changed, so it needs no copy."""
        if error is not None:
            await self.trigger_statuschange(error)
            return
        number = self._monitored_datachange[handle]
        item = self._monitored_items[number]
        if item.mode == ua.MonitoringMode.Disabled:
            return
        item.mvalue.old_dvalue, item.mvalue.current_dvalue = item.mvalue.current_dvalue, value
        filtered = isinstance(item.filter, ua.DataChangeFilter)  # "no filter" arrives as an empty extension object
        trigger = item.filter.Trigger if filtered else ua.DataChangeTrigger.StatusValue
        if not self._is_data_changed(item.mvalue, trigger):
            return
        if filtered and not self._is_deadband_exceeded(item.mvalue, item.filter):
            return
        notification = ua.MonitoredItemNotification(ClientHandle=item.client_handle, Value=value)
        queue = self.isub._triggered_datachanges.setdefault(number, [])
        enqueue(queue, notification, item.queue_size, discard_oldest=self._discard_oldest[number])


def enqueue(queue: list[Any], new: Any, size: int, *, discard_oldest: bool) -> None:
    """Put a notification into a queue of ``size`` places and mark the place where one was lost."""
    if len(queue) < size:
        queue.append(new)
    elif size == 1:
        queue[0] = new
    elif discard_oldest:
        del queue[0]
        queue[0] = _overflowed(queue[0])
        queue.append(new)
    else:
        queue[-1] = _overflowed(new)


def _overflowed(notification: Any) -> Any:
    status = 0 if notification.Value.StatusCode is None else notification.Value.StatusCode.value
    return replace(notification, Value=replace(notification.Value, StatusCode=ua.StatusCode(status | OVERFLOW)))


class PlcSubscriptions(SubscriptionService):
    """Subscriptions whose items are `PlcItems` and which answer Republish as the specification says."""

    async def create_subscription(
        self, params: ua.CreateSubscriptionParameters, *args: Any, **kwargs: Any
    ) -> ua.CreateSubscriptionResult:
        """Create one with a publishing interval that this server can hold."""
        params.RequestedPublishingInterval = max(params.RequestedPublishingInterval, SHORTEST_PUBLISHING_MS)
        result = await super().create_subscription(params, *args, **kwargs)
        subscription = self.subscriptions[result.SubscriptionId]
        subscription.monitored_item_srv = PlcItems(subscription, self.aspace)
        return result

    async def transfer_subscriptions(
        self, params: ua.TransferSubscriptionsParameters, session_id: ua.NodeId, callback: Any
    ) -> list[ua.TransferResult]:
        """Give subscriptions to another session, whose PublishRequests they use from now on, and say the first word at once.

        asyncua 2.1 goes on with the requests of the session that lost them, so that nothing is ever heard again.
        """
        results = await super().transfer_subscriptions(params, session_id, callback)
        for number in params.SubscriptionIds:
            if (subscription := self.subscriptions.get(int(number))) is not None:
                subscription.pub_request_callback = callback.__self__.get_publish_request
                subscription._startup = True
        return results

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        """Give an unacknowledged message again; it stays unacknowledged (OPC 10000-4, 5.14.6)."""
        subscription = self.subscriptions.get(params.SubscriptionId)
        if subscription is None:
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)
        kept = subscription._not_acknowledged_results.get(params.RetransmitSequenceNumber)
        if kept is None:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        message: ua.NotificationMessage = kept.NotificationMessage
        return message
