"""Commands from outside: asked, bounded, answered, and never in the way of events."""

from __future__ import annotations

from publish_fake_broker import FakeBroker, message, until
from publish_setting import TOPICS

from edge_agent.ports import Document


async def test_a_command_arrives_with_its_reply_address(open_sink):
    """A request carries Response Topic and Correlation Data, and the answer gives the latter back."""
    async with FakeBroker() as broker, open_sink(broker.port) as sink:
        assert broker.subscriptions == [TOPICS.command(name) for name in ("resend", "rebirth", "snapshot")]
        properties = b"\x08\x00\x03a/b\x09\x00\x02\x01\x02"
        broker.writer.write(message(TOPICS.command("resend"), b'{"stream":"filler"}', properties=properties))
        request = await sink.request()
        assert (request.command, request.body, request.reply, request.correlation) == (
            "resend", b'{"stream":"filler"}', "a/b", b"\x01\x02",
        )  # fmt: skip
        await sink.announce(Document("a/b", b"{}", retain=False, correlation=request.correlation))
        assert broker.published[-1].properties.CorrelationData == b"\x01\x02"
        assert not broker.published[-1].retain


async def test_commands_are_bounded_and_leftovers_ignored(open_sink):
    """A flood fills 16 places and no more; retained, foreign and oversized messages are dropped; bad reply topics removed."""
    async with FakeBroker() as broker, open_sink(broker.port) as sink:
        broker.writer.write(message(TOPICS.command("rebirth"), b"old", retain=True))
        broker.writer.write(message("edge/other", b"x"))
        broker.writer.write(message(TOPICS.command("snapshot"), b"0", properties=b"\x08\x00\x03a/#"))
        for n in range(1, 30):
            broker.writer.write(message(TOPICS.command("rebirth"), str(n).encode()))
        await until(lambda: sink._connection.hearing.commands.dropped == 2 + 14)
        got = [await sink.request() for _ in range(16)]
        assert [one.body for one in got] == [str(n).encode() for n in range(16)]
        assert got[0].reply is None


async def test_a_broker_that_refuses_the_command_topics_still_gets_events(open_sink, record):
    """Commands are an extra: without the right to subscribe, publishing works."""
    async with FakeBroker(suback=0x87) as broker, open_sink(broker.port) as sink:
        await sink.publish(record(1))


async def test_no_commands_means_no_subscription(open_sink, record):
    """With an empty list nothing is subscribed at all."""
    async with FakeBroker() as broker, open_sink(broker.port, commands=[]) as sink:
        await sink.publish(record(1))
        assert broker.subscriptions == []
