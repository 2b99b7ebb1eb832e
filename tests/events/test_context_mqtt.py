"""Context that comes from topics of the MES: what is believed, and what a unit makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.events.catalog import UnitConfig, fold_of, inputs, topics_of
from edge_agent.events.derive import Fold, Tick, Turn, UnitState
from edge_agent.events.mescontext import DEVICE, MqttTopic, RefusedContextError, name_in
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, DeviceUp, Tag

T0 = 1_792_904_400 * NS
PLC = (Tag("plc", "count"),)
UNIT: dict[str, Any] = {
    "version": 1, "unit": "filler",
    "context": {"order": {"mqtt": "mes/order", "member": "id"}, "product": {"mqtt": "mes/order", "member": "item"}},
    "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "never", "max_rate": "100/s"}},
}  # fmt: skip


def at(t: float) -> int:
    """Return t in UTC ns."""
    return T0 + round(t * NS)


@pytest.mark.parametrize(
    ("payload", "member", "name"),
    [
        (b"WO-1001", None, "WO-1001"), (b" WO-1001\r\n", None, "WO-1001"), (b"", None, ""), (b"", "id", ""),
        (b'{"id":"WO-1","x":[1]}', "id", "WO-1"), (b'{"id":4711}', "id", "4711"), (b'{"id":null}', "id", ""),
        ("Größe 5 / Rot".encode(), None, "Größe 5 / Rot"), (b"x" * 64, None, "x" * 64),
    ],
)  # fmt: skip
def test_a_message_names_what_is_made(payload: bytes, member: str | None, name: str) -> None:
    """Plain text, or one member of a JSON object; an empty message is a retained one that was deleted: nothing is made."""
    assert name_in(payload, MqttTopic(mqtt="a/b", member=member)) == name


@pytest.mark.parametrize(
    ("payload", "member", "why"),
    [
        (b"x" * 65, None, "longer than 64"), (b"x" * 5000, None, "5000 bytes"), (b"\xff\xfe", None, "not UTF-8"), (b"a\x00b", None, "cannot be printed"),
        ("a\u202eb".encode(), None, "cannot be printed"), (b"[1]", "id", "no JSON object"), (b"{", "id", "no JSON object"), (b"[" * 2000, "id", "no JSON object"),
        (b'{"ID":"x"}', "id", "no member 'id'"), (b'{"id":{}}', "id", "neither text"), (b'{"id":true}', "id", "neither text"), (b'{"id":1.5}', "id", "neither text"),
        (b'{"id":"\xff"}', "id", "no JSON object"), (b"DROP", None, "does not match"),
    ],
)  # fmt: skip
def test_a_message_that_is_not_believed(payload: bytes, member: str | None, why: str) -> None:
    """Size, charset, shape and the user's pattern are checked; the reason is told in words."""
    with pytest.raises(RefusedContextError, match=why):
        name_in(payload, MqttTopic(mqtt="a/b", member=member, pattern=r"WO.*|x*|a.?b" if member is None else ".*"))


@given(st.binary(max_size=3000), st.sampled_from([None, "id"]))
def test_no_message_does_anything_but_name_or_be_refused(payload: bytes, member: str | None) -> None:
    """Whatever arrives ends in a short printable name or in a refusal."""
    try:
        name = name_in(payload, MqttTopic(mqtt="a/b", member=member))
    except RefusedContextError:
        return
    assert len(name) <= 64
    assert all(character.isprintable() or ord(character) > 0x7F for character in name)


def test_a_pattern_that_is_none_is_refused_before_any_message_comes() -> None:
    """A mistake in the configuration is told by check, not by the first order."""
    with pytest.raises(ValidationError, match="no regular expression"):
        MqttTopic(mqtt="a/b", pattern="WO-(")


@pytest.mark.parametrize("topic", ["mes/+/order", "mes/#", "", "a\x00b"])
def test_a_topic_has_no_wildcards(topic: str) -> None:
    """A filter would let anybody's message in."""
    with pytest.raises(ValidationError):
        MqttTopic(mqtt=topic)


# -- in a unit ---------------------------------------------------------------------------------------------------------------


def started() -> tuple[Fold, UnitState]:
    """Return a unit whose context comes from the MES."""
    fold = fold_of(UnitConfig.model_validate(UNIT), devices={"plc": PLC})
    return fold, fold.start({})[0]


def count(t: float, value: int, *, up: bool = False) -> Batch:
    """Return one poll of the counter."""
    return Batch("plc", at(t), [0], [value], [0], [0], [0], before=(DeviceUp("plc", at(t)),) if up else ())


def says(t: float, order: str, product: str = "P") -> Batch:
    """Return what the MES says, as the agent hands it over."""
    return Batch(DEVICE, at(t), [0, 1], [order, product], [0, 0], [0, 0], [0, 0])


def told(turn: Turn, *types: str) -> list[tuple[str, str | None, Any]]:
    """Return the events of these types with their order and delta."""
    return [(e.type, e.ctx.order, e.data.get("delta")) for e in turn.events if e.type in types]


def test_an_order_of_the_mes_owns_what_is_made_while_it_stands() -> None:
    """The counter is read before a change is handed over, so each part is the order's that stood."""
    fold, state = started()
    story: list[Batch | Tick] = [
        count(0, 100, up=True),
        count(0.5, 100),
        says(0.5, "A"),
        count(1, 103),
        count(5.1, 110),
        says(5.1, "B", "Q"),
        count(6, 112),
        Tick(at(9)),
    ]
    turn = fold.fold(state, story)
    kinds = ("production.count", "order.started", "order.completed")
    assert told(turn, *kinds) == [
        ("production.count", "A", 3), ("production.count", "A", 7), ("order.completed", "A", None), ("order.started", "B", None),
        ("production.count", "B", 2),
    ]  # fmt: skip
    ended = next(event for event in turn.events if event.type == "order.completed")
    assert (ended.data["source"], ended.data["totals_at"], turn.state.picture.context.product) == ("mes", {"total": 10}, "Q")


def test_the_last_word_of_the_mes_holds_while_the_broker_is_away() -> None:
    """A restart without a broker: the stored order goes on, the gap does not wait for the MES, and the watermark moves."""
    fold, state = started()
    turn = fold.fold(state, [count(0, 100, up=True), says(0.5, "A"), count(1, 103), Tick(at(3))])
    again, _ = fold.start(fold.stored(turn.state))
    away = Batch("", at(60), before=(AgentDown(at(3), at(60)),))
    turn = fold.fold(again, [away, count(61, 140, up=True), count(62, 141), *(Tick(at(t)) for t in range(61, 75))])
    assert told(turn, "production.count") == [("production.count", "A", 37), ("production.count", "A", 1)]
    assert [event.data["reason"] for event in turn.events if event.type == "collection.gap"] == ["agent_down"]
    assert turn.state.picture.down == frozenset()
    assert fold.watermark(turn.state) > at(60)


def test_an_order_that_changed_unseen_carries_its_interval() -> None:
    """Behind an absence the MES says another order: completed and started somewhere in it, and the parts in between have two candidates."""
    fold, state = started()
    turn = fold.fold(state, [count(0, 100, up=True), says(0.5, "A"), count(1, 103), Tick(at(3))])
    again, _ = fold.start(fold.stored(turn.state))
    away = Batch("", at(60), before=(AgentDown(at(3), at(60)),))
    turn = fold.fold(again, [away, says(60.5, "B"), count(61, 140, up=True), Tick(at(75))])
    changed = [event for event in turn.events if event.type.startswith("order.")]
    assert [(event.type, event.interval) for event in changed] == [
        ("order.completed", (at(3), at(60))), ("order.started", (at(3), at(60))),
    ]  # fmt: skip


def test_no_device_is_asked_for_what_the_mes_says() -> None:
    """The topics are no tags of any device: nothing is read, wired or written for them."""
    config = UnitConfig.model_validate(UNIT)
    assert inputs(config) == {"plc.count"}
    assert [(tag.ref, source.mqtt) for tag, (_, source) in zip(topics_of(config).tags, topics_of(config).sources, strict=True)] == [
        ("(mqtt).order", "mes/order"), ("(mqtt).product", "mes/order"),
    ]  # fmt: skip


def test_an_operator_is_part_of_the_context() -> None:
    """A badge tag stands in the context of what follows."""
    unit = UNIT | {"context": {"operator": "plc.badge"}}
    fold = fold_of(UnitConfig.model_validate(unit), devices={"plc": (*PLC, Tag("plc", "badge"))})
    rows = Batch("plc", at(0), [0, 1], [100, "4711"], [0, 0], [0, 0], [0, 0], before=(DeviceUp("plc", at(0)),))
    turn = fold.fold(fold.start({})[0], [rows, count(1, 101)])
    assert [event.ctx.operator for event in turn.events if event.type == "production.count"] == ["4711"]
