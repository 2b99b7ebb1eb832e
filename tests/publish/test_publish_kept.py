"""What a broker keeps can be read back, once and again, beside everything else that a connection does."""

from __future__ import annotations

import asyncio

import pytest
from publish_fake_broker import outcomes_of
from publish_setting import TOPICS

from edge_agent.ports import Document
from edge_agent.publish.kept import Kept

pytestmark = pytest.mark.mosquitto


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_retained_messages_are_read_back(mosquitto, open_sink, record, protocol):
    """Whole, also a large one; what is not there is left out after a second; later ones are not sent to us, commands still are."""
    broker = mosquitto()
    ours, other, large = TOPICS.checkpoint("filler"), TOPICS.checkpoint("capper"), TOPICS.checkpoint("big")
    async with open_sink(broker.port, protocol=protocol) as sink:
        await sink.announce(Document(ours, b"one"))
        await sink.announce(Document(large, b"x" * 150_000))
    async with open_sink(broker.port, protocol=protocol) as sink:
        assert await sink.retained((ours, large)) == {ours: b"one", large: b"x" * 150_000}
        await sink.announce(Document(ours, b"two"))
        assert await sink.retained((ours, other)) == {ours: b"two"}
        assert await outcomes_of(sink, [record(n) for n in range(1, 4)]) == [None] * 3
        await sink.announce(Document(TOPICS.command("rebirth"), b"", retain=False))
        assert (await asyncio.wait_for(sink.request(), 5)).command == "rebirth"


async def test_what_may_not_be_read_is_left_out(mosquitto, open_sink, tmp_path):
    """Without the right to read there is nothing, and that is no error; the connection goes on."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic write #\ntopic read {TOPICS.base}/cmd/#\n")
    acl.chmod(0o644)
    broker = mosquitto(f"allow_anonymous true\nacl_file {acl}")
    async with open_sink(broker.port) as sink:
        await sink.announce(Document(TOPICS.checkpoint("filler"), b"one"))
        assert await sink.retained((TOPICS.checkpoint("filler"),)) == {}


async def test_an_end_of_the_connection_ends_the_wait():
    """Nobody waits for messages of a connection that is gone; foreign topics and fresh messages are not taken for retained ones."""
    kept = Kept(["a", "b"])
    assert kept.arrived("a", b"1", retained=True)
    assert kept.arrived("b", b"2", retained=False)
    assert not kept.arrived("c", b"3", retained=True)
    waiting = asyncio.create_task(kept.complete(()))
    await asyncio.sleep(0)
    kept.give_up()
    await asyncio.wait_for(waiting, 0.5)
    assert kept.found == {"a": b"1"}
