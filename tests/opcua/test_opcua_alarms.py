"""Alarms and conditions from an in-process server through the driver: identity, refresh, losses, bounds, and the one call that leaves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from asyncua import ua
from opcua_alarms import Conditions
from opcua_plant import SERVICES, Plc, Proxy, Reader, config, free_port, reading

from edge_agent.drivers.opcua.alarmconfig import AlarmsFrom
from edge_agent.drivers.opcua.eventfields import condition_of, event_of
from edge_agent.drivers.opcua.eventfilter import FIELDS
from edge_agent.drivers.opcua.guard import REFRESH, Guard
from edge_agent.model.condition import Condition, Refresh
from edge_agent.model.reading import Gap, TagStatus

TAGS = {"speed": {"node": "s=Speed"}}


@contextlib.asynccontextmanager
async def plant() -> AsyncIterator[tuple[Plc, Conditions]]:
    """A PLC with one variable and an alarm system."""
    plc = Plc(free_port())
    await plc.start()
    try:
        await plc.add("Speed", 1)
        conditions = Conditions(plc)
        await conditions.start()
        yield plc, conditions
    finally:
        await plc.stop()


def marks(reader: Reader) -> list[str]:
    """The phases of refreshes, in order."""
    return [value.phase for _, value, _, _ in reader.rows() if isinstance(value, Refresh)]


def conditions_of(reader: Reader) -> list[Condition]:
    """The conditions that came, in order."""
    return [value for _, value, _, _ in reader.rows() if isinstance(value, Condition)]


async def test_what_is_active_is_told_between_begun_and_done() -> None:
    """On a connect the server is asked for its conditions, and they stand between the two marks, with the URI in their identity."""
    async with plant() as (plc, conditions):
        await conditions.say("High", severity=800)
        async with reading(config(plc.port, TAGS, alarms={"severity_min": 100})) as reader:
            await reader.until(lambda r: "done" in marks(r))
            rows = [value for name, value, _, _ in reader.rows() if name == "alarms"]
            assert [type(row).__name__ for row in rows] == ["Refresh", "Condition", "Refresh"]
            (told,) = conditions_of(reader)
            assert told.key == "nsu=urn:edge-agent:test-line;s=Alarms.High"
            assert (told.active, told.acked, told.severity, told.source, told.name) == (True, False, 800, "Filler", "High")
            assert told.message == "High is bad"
            assert told.time is not None
            assert told.since == told.time


async def test_live_changes_keep_their_identity_and_time() -> None:
    """An alarm that rises, is acknowledged and falls is one key, each change with the server's own time as the row's source time."""
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms={})) as reader:
        await reader.until(lambda r: "done" in marks(r))
        for active, acked in ((True, False), (True, True), (False, True)):
            await conditions.say("High", active=active, acked=acked)
        await reader.until(lambda r: len(conditions_of(r)) == 3)
        told = conditions_of(reader)
        assert [(one.active, one.acked) for one in told] == [(True, False), (True, True), (False, True)]
        assert len({one.key for one in told}) == 1
        batch = next(batch for batch in reader.batches if any(isinstance(value, Condition) for value in batch.values))
        assert batch.source[0] == told[0].time


@pytest.mark.parametrize("kind", [ua.ObjectIds.RefreshRequiredEventType, ua.ObjectIds.EventQueueOverflowEventType])
async def test_a_server_that_lost_events_is_asked_again(kind: int) -> None:
    """RefreshRequired and a queue overflow have everything told again; the overflow is a gap of the alarm source alone."""
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms={})) as reader:
        await reader.until(lambda r: "done" in marks(r))
        await conditions.special(kind)
        await reader.until(lambda r: marks(r) == ["begun", "done"] * 2)
        gaps = [(gap.reason, gap.tags) for gap in reader.notices(Gap)]
        assert gaps == ([("queue_overflow", ("alarms",))] if kind == ua.ObjectIds.EventQueueOverflowEventType else [])


@pytest.mark.parametrize(("overflows", "expected"), [(1, ["begun", "begun", "done"]), (99, ["begun"] * 3 + ["unknown"])])
async def test_a_refresh_that_lost_events_proves_nothing(overflows: int, expected: list[str]) -> None:
    """A refresh in which the queue overflowed is not done; it is asked for again, and after three it is said that nobody knows."""
    async with plant() as (plc, conditions):
        conditions.overflow_inside = overflows
        async with reading(config(plc.port, TAGS, alarms={})) as reader:
            await reader.until(lambda r: len(marks(r)) >= len(expected))
            assert marks(reader)[: len(expected)] == expected


async def test_a_server_without_refresh_still_gives_its_alarms() -> None:
    """Where ConditionRefresh is refused that is said once, and what happens from then on is told."""
    async with plant() as (plc, conditions):
        conditions.answer = ua.StatusCode(ua.StatusCodes.BadMethodInvalid)
        async with reading(config(plc.port, TAGS, alarms={})) as reader:
            await reader.until(lambda r: "unknown" in marks(r))
            await conditions.say("High")
            await reader.until(conditions_of)
            assert marks(reader) == ["begun", "unknown"]
            assert reader.values("speed") == [1]


async def test_a_refresh_that_never_ends_is_given_up() -> None:
    """The end of a refresh is waited for no longer than a request may take; values go on."""
    async with plant() as (plc, conditions):
        conditions.ends = False
        async with reading(config(plc.port, TAGS, alarms={}, timeout="300ms")) as reader:
            await reader.until(lambda r: "unknown" in marks(r))
            await plc.write("Speed", 2)
            await reader.until(lambda r: 2 in r.values("speed"))


async def test_an_object_that_never_hears_of_the_end() -> None:
    """Where the end of a refresh is told at the Server object alone, that counts for an object's own source, when it has been quiet."""
    async with plant() as (plc, conditions):
        await conditions.source("Filler")
        await conditions.say("High")
        async with reading(config(plc.port, TAGS, alarms={"source": "s=Filler"}, timeout="5s")) as reader:
            await reader.until(lambda r: "done" in marks(r))
            assert [one.name for one in conditions_of(reader)] == ["High"]
            await conditions.say("High", active=False)
            await conditions.special(ua.ObjectIds.RefreshRequiredEventType)
            await reader.until(lambda r: marks(r) == ["begun", "done"] * 2)
            batches = [batch for batch in reader.batches if any(isinstance(value, Condition) for value in batch.values)]
            assert [bool(batch.source[0]) for batch in batches] == [False, True, False], (
                "an answer's row is of now, a change's of its time"
            )


async def test_a_source_that_is_not_there_is_a_bad_row_and_the_others_work() -> None:
    """An alarm source without a node is bad with its reason and a tag status, while another one of the device delivers."""
    alarms = [{"name": "gone", "source": "s=Nowhere"}, {"name": "all"}]
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms=alarms)) as reader:
        await reader.until(lambda r: "done" in marks(r))
        bad = {(name, quality) for name, _, quality, detail in reader.rows() if detail is not None}
        assert bad == {("gone", 2)}
        assert [(one.name, one.ok) for one in reader.notices(TagStatus)] == [("gone", False)]
        await conditions.say("High")
        await reader.until(conditions_of)
        assert {name for name, value, _, _ in reader.rows() if isinstance(value, Condition)} == {"all"}


async def test_types_patterns_and_severity() -> None:
    """Types count with their subtypes, patterns with source and name; what is less severe comes as minor, for it may be a known alarm's end."""
    alarms = {"types": ["AlarmConditionType"], "include": ["Filler/*"], "exclude": ["Noise*"], "severity_min": 500}
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms=alarms)) as reader:
        await reader.until(lambda r: "done" in marks(r))
        await conditions.say("Noise1")
        await conditions.say("Dialog", kind=ua.ObjectIds.DialogConditionType)
        await conditions.say("Off", kind=ua.ObjectIds.OffNormalAlarmType)
        await conditions.say("Low", severity=200)
        await conditions.special(ua.ObjectIds.SystemEventType)
        await conditions.say("Last")
        await reader.until(lambda r: any(one.name == "Last" for one in conditions_of(r)))
        assert [(one.name, one.minor) for one in conditions_of(reader)] == [("Off", False), ("Low", True), ("Last", False)]


async def test_plain_events_come_only_where_they_are_asked_for() -> None:
    """An event that is no condition is momentary, and comes with events: true and its type alone."""
    alarms = [{"name": "a"}, {"name": "b", "events": True, "types": ["SystemEventType"], "include": []}]
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms=alarms)) as reader:
        await reader.until(lambda r: marks(r).count("done") == 2)
        await conditions.special(ua.ObjectIds.DeviceFailureEventType)
        await reader.until(conditions_of)
        assert [(n, v.momentary) for n, v, _, _ in reader.rows() if isinstance(v, Condition)] == [("b", True)]


async def test_nonsense_is_bounded_and_breaks_nothing() -> None:
    """Fields of other types, in other numbers, null, huge or no text at all are passed over or cut; what comes after them is right."""
    order = list(FIELDS)
    odd = {order.index(name): value for name, value in {
        "event_type": ua.Variant(5), "condition_id": ua.Variant(ua.NodeId("x" * 5000, 99)), "message": ua.Variant("m" * 1_000_000),
        "severity": ua.Variant(2.5), "active": ua.Variant("yes"), "retain": ua.Variant(True), "time": ua.Variant([1, 2]),
    }.items()}  # fmt: skip
    async with plant() as (plc, conditions), reading(config(plc.port, TAGS, alarms={})) as reader:
        await reader.until(lambda r: "done" in marks(r))
        await conditions.raw({}, 3)
        await conditions.raw({}, len(order))
        await conditions.raw(odd, len(order))
        await conditions.say("High")
        await reader.until(lambda r: any(one.name == "High" for one in conditions_of(r)))
        strange = conditions_of(reader)[0]
        assert len(strange.key) < 500
        assert len(strange.message or "") <= 2000
        assert (strange.active, strange.severity, strange.time) == (True, 1, None)
        assert len(conditions_of(reader)) == 2


def _fields(**said: Any) -> tuple[object, ...]:
    return tuple(said.get(name) for name in FIELDS)


@pytest.mark.parametrize(("said", "expected"), [
    ({"active": True, "enabled": False}, {"active": False}),
    ({"active": None, "retain": True}, {"active": True}), ({"active": True, "retain": False}, {"active": False}),
    ({"severity": 0}, {"severity": 1}), ({"severity": 70_000}, {"severity": 1000}), ({"severity": True}, {"severity": 1}),
    ({"branch": "ns=1;s=B"}, {"key": "nsu=urn:a;s=C#nsu=urn:a;s=B", "of": "nsu=urn:a;s=C"}),
    ({"branch": "i=0"}, {"key": "nsu=urn:a;s=C", "of": None}),
    ({"time": 2**62, "since": 0}, {"time": None, "since": None}), ({"message": "a\udcff"}, {"message": "a?"}),
    ({"shelved": "i=2932", "kind": "i=17218", "quality": 0x80000000}, {"shelved": "timed", "kind": "safety", "good": False}),
])  # fmt: skip
def test_fields_become_a_condition(said: dict[str, object], expected: dict[str, object]) -> None:
    """Each field means what OPC 10000-9 says; what is null or absurd is not said."""
    event = event_of(_fields(**({"condition_id": "ns=1;s=C", "event_type": "i=2915"} | said)))
    assert event is not None
    told = condition_of(event, ["ua", "urn:a"], latest=2_000_000_000 * 10**9, severity_min=1)
    assert {name: getattr(told, name) for name in expected} == expected


def _call(*methods: tuple[Any, Any, Sequence[Any]]) -> ua.CallRequest:
    request = ua.CallRequest()
    request.Parameters.MethodsToCall = [ua.CallMethodRequest(ObjectId=o, MethodId=m, InputArguments=list(a)) for o, m, a in methods]
    return request


NUMBER = ua.Variant(7, ua.VariantType.UInt32)
TYPE, METHOD = REFRESH


def test_the_guard_lets_exactly_one_call_out() -> None:
    """ConditionRefresh of ConditionType with one UInt32 may leave."""
    Guard().check(_call((TYPE, METHOD, [NUMBER])))


@pytest.mark.parametrize("request_", [
    _call(), _call((TYPE, METHOD, [])), _call((TYPE, METHOD, [NUMBER, NUMBER])), _call((TYPE, METHOD, [NUMBER]), (TYPE, METHOD, [NUMBER])),
    _call((TYPE, METHOD, [NUMBER]), (ua.NodeId("Line", 2), ua.NodeId("Stop", 2), [])),
    _call((ua.NodeId("Line", 2), METHOD, [NUMBER])), _call((TYPE, ua.NodeId(3876), [NUMBER])), _call((TYPE, ua.NodeId(3875, 2), [NUMBER])),
    _call((ua.NodeId(2782, 1), METHOD, [NUMBER])), _call((TYPE, ua.NodeId(ua.ObjectIds.ConditionType_Disable), [])),
    _call((TYPE, ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge), [NUMBER])),
    _call((TYPE, ua.NodeId(ua.ObjectIds.ConditionType_ConditionRefresh2), [NUMBER, NUMBER])),
    _call((TYPE, METHOD, [ua.Variant(7, ua.VariantType.Int32)])), _call((TYPE, METHOD, [ua.Variant([7], ua.VariantType.UInt32)])),
    _call((TYPE, METHOD, [ua.Variant("7", ua.VariantType.String)])),
])  # fmt: skip
def test_the_guard_refuses_every_other_call(request_: ua.CallRequest) -> None:
    """Another object, Method, number or type of arguments, or a second call beside the right one, does not leave."""
    with pytest.raises(PermissionError):
        Guard().check(request_)


async def test_on_the_wire_only_refreshes_are_calls() -> None:
    """A session with alarms sends as many calls as refreshes, and nothing that writes."""
    async with plant() as (plc, conditions), Proxy(plc.port).running() as proxy:
        async with reading(config(proxy.port, TAGS, alarms={})) as reader:
            await reader.until(lambda r: "done" in marks(r))
            await conditions.special(ua.ObjectIds.RefreshRequiredEventType)
            await reader.until(lambda r: marks(r).count("done") == 2)
        assert proxy.requests["Call"] == conditions.refreshes == 2
        assert not {"Write", "AddNodes", "DeleteNodes"} & set(proxy.requests), SERVICES


@pytest.mark.parametrize(("alarms", "words"), [
    ({"types": ["NoSuchType"]}, "no event type"), ({"events": True}, "name the types"), ({"name": "speed"}, "is taken"),
    ([{}, {}], "is taken"), ({"severity_min": 0}, "greater"), ({"source": "2:"}, "no name"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(alarms: Any, words: str) -> None:
    """A configuration that cannot work says so with a remedy."""
    with pytest.raises(ValueError, match=words):
        config(4840, TAGS, alarms=alarms)


def test_patterns_know_source_and_name() -> None:
    """A pattern is of the source, of the condition, or of both; exclude wins."""
    one = AlarmsFrom.model_validate({"include": ["Filler*"], "exclude": ["*/Test"]})
    assert one.wants("Filler1", "High")
    assert not one.wants("Packer", "High")
    assert not one.wants("Filler1", "Test")
    assert AlarmsFrom.model_validate({}).wants(None, None)
