"""The search for a message that makes the broker hang up: pure, and over real connections to a broker that does."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from publish_fake_broker import FakeBroker, Published, outcomes_of, puback
from publish_setting import TOPICS

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.ports import Document
from edge_agent.publish.closings import Named
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Memory
from edge_agent.publish.reasons import RefusedError
from edge_agent.publish.suspects import AT_ONCE, Suspects
from edge_agent.publish.tries import Tries

TOO_LARGE = b"\xe0\x02\x95\x00"


def named(number: int) -> Named:
    """Return a record of the one topic."""
    return Named("t", f"r{number}", 100)


def test_everything_in_flight_is_suspect_and_only_who_is_alone_is_accused():
    """Twenty in flight accuse nobody; the third time alone condemns, once, and another message never."""
    suspects = Suspects(Tries(3))
    assert suspects.hung_up([named(n) for n in range(20)], 20)
    assert suspects.careful
    assert not any(suspects.condemned(named(n)) for n in range(20))
    for _ in range(3):
        assert not suspects.condemned(named(7))
        assert suspects.hung_up([named(7)], 20)
    assert not suspects.condemned(named(8))
    assert suspects.condemned(named(7))
    assert not suspects.condemned(named(7))  # its loss record has the same name


def test_the_search_ends_after_as_many_deliveries_as_could_have_been_meant():
    """One at a time until the flight and a window more have passed; documents do not count, for each connection begins with them."""
    suspects = Suspects(Tries(3))
    suspects.hung_up([named(n) for n in range(4)], 10)
    for n in range(13):
        assert not suspects.accepted(named(n))
        assert not suspects.accepted(Named("state", "state", 10))
    assert suspects.accepted(named(13))
    assert not suspects.careful


def test_a_document_is_refused_until_it_has_become_smaller():
    """It has no number and is made anew at each connection, so the verdict on its topic stays."""
    suspects = Suspects(Tries(1))
    suspects.hung_up([Named("meta", "meta", 100)], 20)
    assert [suspects.condemned(Named("meta", "meta", size)) for size in (100, 120, 99)] == [True, True, False]


def test_a_broker_that_hangs_up_for_everything_is_not_hammered():
    """The quick tries end when nothing is delivered any more; a delivery brings them back. Nothing in flight accuses nobody."""
    suspects = Suspects(Tries(3))
    assert not suspects.hung_up([], 20)
    quick = [suspects.hung_up([named(n)], 20) for n in range(60)]
    assert quick.index(False) == 20
    assert not any(quick[20:])
    suspects.accepted(named(99))
    assert suspects.hung_up([named(100)], 20)


class HangsUp:
    """A broker's answer: DISCONNECT 0x95 for whatever has ``text`` in it."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def __call__(self, broker: FakeBroker, seen: Published) -> Iterable[bytes | None]:
        if self.text in seen.payload:
            yield TOO_LARGE
            yield None
        else:
            yield puback(seen.mid)


async def test_the_culprit_alone_is_rejected_and_everything_else_delivered(open_sink, record):
    """Of thirty records one is hopeless: at most reject_after and one connections later it is rejected, and all others have arrived."""
    memory = Memory(MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True}))
    waiting = {n: record(n, body=b'{"big":true}' if n == 7 else b'{"delta":1}') for n in range(1, 31)}
    rejected, pauses, connections = [], [], 0
    async with FakeBroker(answer=HangsUp(b'"big":true')) as broker:
        while waiting:
            connections += 1
            assert connections <= 5
            try:
                async with open_sink(broker.port, memory=memory, window=10) as sink:
                    assert sink.window == 10
                    outcomes = await outcomes_of(sink, list(waiting.values()))
                    for number, outcome in zip(tuple(waiting), outcomes, strict=True):
                        if outcome is None or isinstance(outcome, RejectedError):
                            del waiting[number]
                        if isinstance(outcome, RejectedError):
                            rejected.append(number)
                        if isinstance(outcome, DisconnectedError):
                            raise outcome
            except RefusedError as error:
                pauses.append(error.retry_after)
        assert rejected == [7]
        assert pauses == [AT_ONCE] * 4
        assert connections == 5
        assert not memory.suspects.careful


async def test_a_document_that_ends_the_connection_does_not_keep_records_back(open_sink, record):
    """The broker hangs up for a retained description: after reject_after tries it is left out, and the records flow."""
    memory = Memory(MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True}))
    document = Document(f"{TOPICS.base}/meta", b'"description"')
    async with FakeBroker(answer=HangsUp(b"description")) as broker:
        for _ in range(3):
            with pytest.raises(RefusedError):
                async with open_sink(broker.port, memory=memory) as sink:
                    await sink.announce(document)
        async with open_sink(broker.port, memory=memory) as sink:
            for _ in range(2):
                with pytest.raises(RejectedError, match="hangs up"):
                    await sink.announce(document)
            await sink.publish(record(1))


async def test_an_ordinary_disconnect_accuses_nobody(open_sink, record):
    """A broker that shuts down (0x8B) with messages in flight meant none of them."""
    memory = Memory(MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True}))
    async with FakeBroker(answer=lambda *_: (b"\xe0\x02\x8b\x00",)) as broker, open_sink(broker.port, memory=memory) as sink:
        with pytest.raises(RefusedError) as caught:
            await sink.publish(record(1))
    assert not memory.suspects.careful
    assert caught.value.retry_after is None
