"""What a server grants against what the agent will ask: publishing, sampling, queues, items, sessions. The subscription is deleted again."""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined,arg-type"
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from asyncua import ua

from edge_agent.drivers.opcua import facts
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.item import NO_FILTER, Item
from edge_agent.drivers.opcua.pace import PACE, counts, publishing_ms, sampling
from edge_agent.drivers.opcua.session import NOT_SUBSCRIBED, Session, refusal, status_text
from edge_agent.drivers.opcua.wire import Created
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.inspection import Inspection

_SPEED: Final = 1.0
_MOST_SESSIONS, _MOST_ITEMS, _MOST_ITEMS_EACH = 24095, 24097, 24104
"""MaxSessions, MaxMonitoredItems and MaxMonitoredItemsPerSubscription of ServerCapabilities (OPC 10000-5, 6.3.2)."""
_SESSIONS_NOW: Final = 2277
"""CurrentSessionCount of ServerDiagnosticsSummary (OPC 10000-5, 6.3.4)."""
_NAMED: Final = 20


async def look_at_grants(session: Session, config: OpcUaConfig, items: Sequence[Item], one: Inspection) -> None:
    """Note where the server gives less than is asked for. Raises DisconnectedError."""
    await _limits(session, len(items), one)
    asked = publishing_ms(config.publishing, _SPEED)
    keep_alive, lifetime = counts(asked, PACE)
    # Publishing stays off: nothing is sent, and nobody has to take it.
    params = ua.CreateSubscriptionParameters(asked, lifetime, keep_alive, 0, False, 0)
    try:
        given = await session.create_subscription(ua.CreateSubscriptionRequest(Parameters=params))
    except DisconnectedError as error:
        if (code := refusal(error)) is None:
            raise
        one.facts["publishing_ms"] = {"asked": asked, "given": None}
        one.say("warning", "polled", f"the server has no subscription for it ({status_text(code)}): every tag will be polled")
        return
    one.facts["publishing_ms"] = {"asked": asked, "given": given.RevisedPublishingInterval}
    if given.RevisedPublishingInterval > 1.5 * asked:
        text = f"it publishes every {given.RevisedPublishingInterval:g} ms, and {asked:g} ms is asked for"
        one.say(
            "warning",
            "publishing_revised",
            text,
            remedy=f"write publishing: {given.RevisedPublishingInterval:.0f}ms, or mend the server",
        )
    there = [item for item in items if item.node is not None]
    publishing = max(given.RevisedPublishingInterval, asked)
    try:
        results = await session.monitor(given.SubscriptionId, [item.request(publishing, _SPEED) for item in there]) if there else []
        _compare(there, results, publishing, one)
        if config.keep:
            _returning(there, results, given, one)
    finally:
        await _delete(session, given.SubscriptionId)


async def _delete(session: Session, subscription: int) -> None:
    async with session.bounded("delete subscription"):
        await session.client.uaclient.session.delete_subscriptions([subscription])


async def _limits(session: Session, needed: int, one: Inspection) -> None:
    """Say how many sessions and items the server has left, where it says so; 0 and none mean that it does not."""
    rows = await session.read([ua.NodeId(number) for number in (_MOST_SESSIONS, _SESSIONS_NOW, _MOST_ITEMS, _MOST_ITEMS_EACH)])
    most, now, items, each = (value if isinstance(value, int) and value > 0 else None for value in rows.values)
    most_items = min((limit for limit in (items, each) if limit is not None), default=None)
    one.facts["sessions"] = {"now": now, "most": most}
    one.facts["items"] = {"needed": needed, "most": most_items}
    if most is not None and now is not None and now >= most:  # this look has one of them, which the agent will need
        text = f"all {most} sessions of the server are in use, this one included"
        one.say("warning", "sessions_used_up", text, remedy="close other clients, or allow more sessions on the server")
    if most_items is not None and needed > most_items:
        text = f"the server takes {most_items} items, and {needed} tags are configured: the others will be polled"
        one.say("warning", "items_limited", text, remedy="allow more items on the server, or leave tags out")


def _compare(items: Sequence[Item], results: Sequence[Created], publishing: float, one: Inspection) -> None:
    classes: Counter[tuple[float, float, int, int]] = Counter()
    polled: list[tuple[str, int]] = []
    slower: list[tuple[float, str, float, float]] = []
    shorter: list[tuple[str, int, int]] = []
    for item, result in zip(items, results, strict=True):
        asked = sampling(item.tag.period, publishing, _SPEED)
        code, name = result.status & 0xFFFF_0000, item.tag.name
        if not result.status >> 31:
            classes[asked.sampling_ms, result.sampling, asked.queue, result.queue] += 1
            if result.sampling > 1.5 * asked.sampling_ms:
                slower.append((result.sampling / asked.sampling_ms, name, asked.sampling_ms, result.sampling))
            if result.queue < asked.queue:
                shorter.append((name, asked.queue, result.queue))
        elif code in NO_FILTER and item.deadband is not None:
            one.say("note", "no_deadband", "the server has no deadband for it: every change will be sent", tag=name)
        elif code in NOT_SUBSCRIBED:
            polled.append((name, result.status))
        else:
            one.say("error", "not_monitored", f"it cannot be subscribed: {status_text(result.status)}", tag=name)
    one.facts["sampling"] = [_class(key, tags) for key, tags in sorted(classes.items())]
    if polled:
        names = ", ".join(name for name, _ in polled[:_NAMED])
        one.say(
            "warning", "polled", f"{len(polled)} tag{'s' * (len(polled) > 1)} will be polled ({status_text(polled[0][1])}): {names}"
        )
    if slower:
        _, name, wish, given = max(slower)
        text = f"{_many(len(slower))} sampled more slowly than asked for; the worst is {name}: {given:g} ms instead of {wish:g} ms"
        one.say("warning", "sampling_revised", text, remedy="write sampling as the server has it, or mend the server")
    if shorter:
        name, wish_queue, given_queue = min(shorter, key=lambda each: each[2] / each[1])
        text = f"{_many(len(shorter))} kept in a shorter queue than asked for; the worst is {name}: {given_queue} instead of {wish_queue}"
        one.say("warning", "queue_revised", text, remedy="a slow network may cost samples, which are declared as gaps")


def _returning(items: Sequence[Item], results: Sequence[Created], given: ua.CreateSubscriptionResult, one: Inspection) -> None:
    """Say when the server numbers its items so that more would have to be remembered of them than is."""
    for item, result in zip(items, results, strict=True):
        item.monitored = result.number if not result.status >> 31 else None
    monitored = [item for item in items if item.monitored is not None]
    runs = facts.runs_of(monitored)
    size = len(facts.packed(facts.Facts(facts.found(monitored), runs, given.RevisedPublishingInterval, 0.0)))
    if size > facts.MOST_BYTES:
        text = f"a short absence of the agent will be a gap: the server numbers its items out of order ({len(monitored)} in {len(runs)} rows)"
        remedy = "describe its tags in several devices; or write keep: 0s, so that the server keeps nothing in vain"
        one.say("warning", "not_resumable", text, remedy=remedy)


def _many(count: int) -> str:
    return "1 tag is" if count == 1 else f"{count} tags are"


def _class(key: tuple[float, float, int, int], tags: int) -> dict[str, Any]:
    wish, given, wish_queue, given_queue = key
    return {"asked_ms": wish, "given_ms": given, "asked_queue": wish_queue, "given_queue": given_queue, "tags": tags}
