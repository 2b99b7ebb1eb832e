"""Two agents with one client id, and messages that a broker calls invalid: what is learned from one connection to the next."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from publish_fake_broker import FakeBroker, outcomes_of, puback
from structlog.testing import capture_logs

from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Memory
from edge_agent.publish.reasons import RefusedError
from edge_agent.publish.takeover import Takeovers
from edge_agent.publish.tries import Tries

PLAIN = MqttConfig.model_validate({"broker": "mqtt://h", "allow_insecure": True})


def test_a_named_takeover_is_answered_by_growing_pauses():
    """30 s, doubled each time up to 5 min, never in step with the other one; after ten quiet minutes from the start."""
    takeovers = Takeovers(Random(1))
    pauses = [takeovers.ended(named=True, without_word=False, lasted=60.0, now=100.0 + n) for n in range(6)]
    for pause, least in zip(pauses, (30, 60, 120, 240, 300, 300), strict=True):
        assert pause is not None
        assert least <= pause <= 1.5 * least
    assert len({pause / least for pause, least in zip(pauses, (30, 60, 120, 240, 300, 300), strict=True) if pause}) == 6
    later = takeovers.ended(named=True, without_word=False, lasted=60.0, now=2000.0)
    assert later is not None
    assert later <= 45


def test_a_rhythm_of_short_connections_is_a_takeover_without_a_name():
    """Eight in a row that the broker closes within 10 s without a word; while that is remembered, one more is enough."""
    takeovers = Takeovers(Random(1))
    ends = [takeovers.ended(named=False, without_word=True, lasted=0.2, now=float(now)) for now in range(1, 9)]
    assert ends[:7] == [None] * 7
    assert ends[7] is not None
    again = takeovers.ended(named=False, without_word=True, lasted=45.0, now=60.0)
    assert again is not None
    assert again >= 60


@pytest.mark.parametrize(
    "ends",
    [
        [(True, 60.0)] * 9,
        [(False, 0.1)] * 9,
        [(True, 0.1), (True, 0.1), (False, 0.1), (True, 0.1), (True, 0.1)],
        [(True, 0.1)] * 7 + [(True, 20.0)] + [(True, 0.1)] * 7,
        [(True, 0.1)] * 7,
    ],
    ids=["held", "other_ends", "mixed", "one_held", "a_bad_line"],
)
def test_other_losses_are_no_takeover(ends):
    """A broker that restarts or a line that breaks does not make the agent wait."""
    takeovers = Takeovers(Random(1))
    for place, (without_word, lasted) in enumerate(ends):
        assert takeovers.ended(named=False, without_word=without_word, lasted=lasted, now=float(place)) is None


async def test_flip_flop_against_a_silent_broker(mosquitto, open_sink):
    """Two agents with one id at a broker that does not say why: after eight rounds one waits, and the log says what to change."""
    broker = mosquitto()
    memory, other = Memory(PLAIN), Memory(PLAIN)
    pauses = []
    with capture_logs() as logs:
        for _ in range(8):
            with pytest.raises(DisconnectedError) as caught:
                async with open_sink(broker.port, memory=memory) as sink, open_sink(broker.port, memory=other):
                    await asyncio.wait_for(sink.request(), 5)
            pauses.append(caught.value.retry_after)
    assert pauses[:7] == [None] * 7
    assert 30 <= pauses[7] <= 45
    assert "does another client use the same client_id?" in str(caught.value)
    (line,) = [line for line in logs if line["event"] == "mqtt.taken_over"]
    assert (line["log_level"], line["certain"], line["times"]) == ("error", False, 1)
    assert (memory.counters.takeovers, other.counters.takeovers) == (1, 0)


async def test_a_takeover_that_the_broker_names_counts_at_once(open_sink):
    """DISCONNECT 0x8E: the first one already makes the agent wait, the second one twice as long."""
    memory = Memory(PLAIN)
    pauses = []
    async with FakeBroker(on_subscribe=b"\xe0\x02\x8e\x00") as broker:
        for _ in range(2):
            with pytest.raises(RefusedError, match=r"session taken over .*give each agent its own") as caught:
                async with open_sink(broker.port, memory=memory) as sink:
                    await sink.request()
            pauses.append(caught.value.retry_after)
    assert 30 <= pauses[0] <= 45
    assert 60 <= pauses[1] <= 90


def test_a_connect_of_our_own_that_comes_late_excuses_one_takeover():
    """Each CONNECT that nobody answered may end one later connection, for a minute; a second client is found behind them all the same."""
    takeovers = Takeovers(Random(1))
    takeovers.unanswered(100.0)
    takeovers.unanswered(101.0)
    takeovers.unanswered(102.0)
    assert [takeovers.own(now) for now in (103.0, 104.0, 162.5, 163.0)] == [True, True, False, False]


async def test_a_broker_that_hung_and_answers_late_is_no_second_client(open_sink):
    """A CONNECT is not answered in time; the takeover right after it is our own, the next one is somebody else's."""
    memory = Memory(PLAIN)
    async with FakeBroker(on_subscribe=b"\xe0\x02\x8e\x00") as broker:
        broker.silent = True
        with pytest.raises(DisconnectedError, match="does not answer MQTT's CONNECT"):
            async with open_sink(broker.port, memory=memory, connect_timeout="200ms"):
                pass
        broker.silent = False
        pauses = []
        for _ in range(2):
            with pytest.raises(RefusedError, match="session taken over") as caught:
                async with open_sink(broker.port, memory=memory) as sink:
                    await sink.request()
            pauses.append((caught.value.retry_after, caught.value.slow))
    assert pauses[0] == (None, False)
    assert pauses[1][0] >= 30


def test_a_message_has_its_tries_and_a_hopeless_topic_has_one():
    """The n-th refusal is the last; on the same topic the next message is set aside at once, until something is accepted there."""
    tries = Tries(3)
    assert [tries.refused("a", "t") for _ in range(3)] == [False, False, True]
    assert tries.refused("b", "t")
    assert not tries.refused("c", "other")
    tries.accepted("t")
    assert not tries.refused("d", "t")


def test_what_is_remembered_about_messages_is_bounded():
    """However many messages are refused, memory does not grow without end."""
    tries = Tries(2)
    for number in range(5000):
        tries.refused(str(number), f"t{number}")
        tries.refused(str(number), f"t{number}")
        tries.refused(f"once {number}", "x")
    assert len(tries._count) + len(tries._hopeless) <= 2000


@pytest.mark.parametrize("code", [0x90, 0x99])
async def test_an_invalid_message_is_tried_again_in_order_and_then_set_aside_alone(open_sink, record, code):
    """Two reconnects that start again at it, then its own rejection, with the later ones delivered."""

    def refuse_two(broker, seen):
        yield puback(seen.mid, code if seen.user["sequence"][-1] in "25" else 0)

    memory = Memory(PLAIN)
    waiting = [1, 2, 3, 4, 5, 6]
    rejected = []
    async with FakeBroker(answer=refuse_two) as broker:
        for turn in range(3):
            async with open_sink(broker.port, memory=memory) as sink:
                outcomes = await outcomes_of(sink, [record(n) for n in waiting])
            if turn < 2:
                first = waiting.index(2)
                assert outcomes[:first] == [None] * first
                assert all(isinstance(outcome, RefusedError) for outcome in outcomes[first:])
            rejected = [n for n, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, RejectedError)]
            waiting = [n for n, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, RefusedError)]
    assert (rejected, waiting) == ([2], [5, 6])
    assert memory.counters.rejected == 1
