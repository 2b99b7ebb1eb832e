"""The life of a whole agent: starts downstream first, stops upstream first, and outlives what its surroundings do to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest
from agent_bench import body, others, short, until
from agent_process import Plant

from edge_agent.agent import housekeeping
from edge_agent.agent.serve import serve
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.model.errors import StorageError
from edge_agent.ports import Request


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Plant:
    """A PLC, a broker and a clock."""
    return Plant(tmp_path, monkeypatch)


def published(plant: Plant, kind: str) -> list[dict[str, object]]:
    """Return what the events of one type said to the broker of now."""
    return [body(record.entry) for record in plant.sink.seen if short(record.entry) == kind]


async def test_a_stop_goes_from_the_plc_to_the_broker(plant):
    """Last poll, PLC closed, what it counted and agent.stopped delivered, offline told, broker closed: in this order, at once."""
    async with plant.running() as task:
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(7)
        await until(lambda: "production.count" in plant.happened)
        plant.happened.clear()
        plant.stop.set()
        began = time.monotonic()
        await asyncio.wait_for(task, 30)
        assert time.monotonic() - began < 3
    order = [
        what
        for what in plant.happened
        if what in {"last poll", "plc closed", "production.count", "agent.stopped", "offline", "broker closed"}
    ]
    assert order.index("last poll") < order.index("plc closed") < order.index("agent.stopped")
    assert order[-4:] == ["production.count", "agent.stopped", "offline", "broker closed"]
    assert [count["delta"] for count in published(plant, "production.count")] == [7, 1]
    assert not others()


async def test_everything_is_on_disk_when_the_broker_is_away_at_the_stop(plant):
    """Without a broker the stop does not wait for one; the next start sends what is left, numbered without a hole."""
    plant.broker_there = False
    async with plant.running() as task:
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(7)
        plant.stop.set()
        began = time.monotonic()
        await asyncio.wait_for(task, 30)
        assert time.monotonic() - began < 3
    plant.broker_there = True
    plant.clock.advance(60)
    plant.register += 5
    async with plant.running():
        await until(lambda: len(published(plant, "production.count")) == 3)
        await until(lambda: len(published(plant, "agent.started")) == 2)
        counts = published(plant, "production.count")
        assert [(count["delta"], count["derivation"]) for count in counts] == [(7, "observed"), (1, "observed"), (5, "recovered")]
        for stream in ("filler", "_agent/gw1"):
            numbers = [record.key.seq for record in plant.sink.seen if record.key.stream == stream]
            assert numbers == list(range(1, len(numbers) + 1))
        assert [start["reason"] for start in published(plant, "agent.started")] == ["boot", "restart"]


async def test_a_killed_agent_says_that_it_crashed(plant):
    """A start after a life without agent.stopped is a crash, with the time it was last seen."""
    async with plant.running() as task:
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        task.cancel()
        await asyncio.wait([task])
    plant.clock.advance(60)
    async with plant.running():
        await until(lambda: [start["reason"] for start in published(plant, "agent.started")][-1:] == ["crash"])


async def test_a_device_that_is_away_does_not_delay_the_stop(plant):
    """Nobody waits for the last poll of a PLC that is not there."""
    plant.plc_there = False
    async with plant.running() as task:
        await until(lambda: "device.disconnected" in plant.happened)
        plant.stop.set()
        began = time.monotonic()
        await asyncio.wait_for(task, 30)
        assert time.monotonic() - began < 3
    assert plant.happened[-3:] == ["agent.stopped", "offline", "broker closed"]


async def test_a_lost_broker_and_a_lost_plc_come_back(plant):
    """Both links reopen by themselves; parts made meanwhile are counted once, and the loss is an event."""
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        first = plant.sink
        first.lose()
        plant.clock.advance(5)
        plant.register += 9
        plant.driver.lose()
        await until(lambda: plant.sink is not first and "broker closed" not in plant.happened)
        await until(lambda: any(count["delta"] == 9 for count in published(plant, "production.count")))
        (count,) = published(plant, "production.count")
        assert (count["delta"], count["derivation"]) == (9, "recovered")
        assert {"device.disconnected", "device.connected"} <= set(plant.happened)


async def test_a_bug_in_a_part_ends_the_agent_with_its_error(plant, monkeypatch):
    """What must not happen is not hidden: the process ends, systemd starts it anew, and nothing is left running."""

    async def heartbeat(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(housekeeping, "heartbeat", heartbeat)
    with pytest.raises(ZeroDivisionError):
        async with plant.running() as task:
            await asyncio.wait_for(task, 30)
    assert not others()


async def ask(plant: Plant, request: Request) -> dict[str, object]:
    """Send a command and return the answer."""
    plant.sink.requests.put_nowait(request)
    await until(lambda: [document for document in plant.sink.documents if document.topic == request.reply])
    (answer,) = [document for document in plant.sink.documents if document.topic == request.reply]
    assert (answer.correlation, answer.retain) == (request.correlation, False)
    content: dict[str, object] = json.loads(answer.payload)
    return content


async def test_a_resend_is_done_and_answered(plant):
    """What is asked for comes again with the same number; what is no longer kept is counted; a wrong request is refused in words."""
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await plant.count(7)
        await until(lambda: "production.count" in plant.happened)
        (record,) = [record for record in plant.sink.seen if short(record.entry) == "production.count"]
        await _settled(plant, record.key.seq)
        wanted = {"stream": "filler", "epoch": record.key.epoch, "from_seq": record.key.seq, "to_seq": record.key.seq + 2}
        answer = await ask(plant, Request("resend", json.dumps(wanted).encode(), "answers/1", b"1"))
        assert answer == {"ok": True, "resent": 1, "not_kept": 2}
        await until(lambda: [again for again in plant.sink.seen if again.key == record.key and again.resent])
        refused = await ask(plant, Request("resend", b'{"stream": "filler"}', "answers/2", b"2"))
        assert refused["ok"] is False
        assert "epoch" in str(refused["error"])


async def _settled(plant: Plant, seq: int) -> None:
    """Wait until the retained picture shows ``seq`` as published."""
    before = len(plant.sink.documents)
    plant.sink.requests.put_nowait(Request("rebirth", b""))
    await until(lambda: len(plant.sink.documents) > before + 2)


async def test_a_rebirth_announces_everything_again(plant):
    """Status, meta, state and checkpoints are sent again in the order of a birth."""
    async with plant.running():
        await until(lambda: len(plant.sink.documents) >= 5)
        topics = [document.topic for document in plant.sink.documents[:5]]
        before = len(plant.sink.documents)
        assert await ask(plant, Request("rebirth", b"", "answers/3", b"3")) == {"ok": True}
        assert [document.topic for document in plant.sink.documents[before:] if document.retain][:5] == topics


async def test_a_request_that_the_disk_refuses_is_answered_not_died_of(plant, monkeypatch):
    """While the disk is out of order nothing can be marked for resending: the asker is told, the agent goes on."""

    async def refuse(*_: object) -> int:
        raise StorageError("nothing can be marked: the disk is full")

    monkeypatch.setattr(SqliteBuffer, "resend", refuse)
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        wanted = {"stream": "filler", "epoch": "x", "from_seq": 1, "to_seq": 2}
        answer = await ask(plant, Request("resend", json.dumps(wanted).encode(), "answers/4", b"4"))
        assert answer == {"ok": False, "error": "nothing can be marked: the disk is full"}
        await plant.count(3)
        await until(lambda: "production.count" in plant.happened)


@pytest.mark.parametrize(("first", "last"), [(1, 1 << 63), (-(1 << 70), 2), (-1, 2)])
async def test_a_request_for_numbers_that_never_were_is_refused_in_words(plant, first, last):
    """A number that no record can have, larger than the store can even be asked for, harms nothing: what is made after it is sent."""
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        await until(lambda: plant.sink.seen)
        wanted = {"stream": "_agent/gw1", "epoch": plant.sink.seen[0].key.epoch, "from_seq": first, "to_seq": last}
        answer = await ask(plant, Request("resend", json.dumps(wanted).encode(), "answers/5", b"5"))
        assert answer["ok"] is False
        assert "_seq" in str(answer["error"])
        await plant.count(3)
        await until(lambda: "production.count" in plant.happened)


async def test_a_request_that_is_no_text_is_refused_in_words(plant):
    """One byte that is no UTF-8 from whoever may write to the topic does not take the commands away, or more."""
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        body = b'{"stream":"\xff","epoch":"x","from_seq":1,"to_seq":2}'
        answer = await ask(plant, Request("resend", body, "answers/6", b"6"))
        assert (answer["ok"], "utf-8" in str(answer["error"])) == (False, True)
        assert await ask(plant, Request("rebirth", b"", "answers/7", b"7")) == {"ok": True}


async def test_documents_that_the_disk_cannot_fill_do_not_end_the_agent(plant, monkeypatch):
    """While the store cannot be read the pictures wait; counting and sending go on."""

    async def refuse(*_: object) -> object:
        raise StorageError("the store is closed, and the disk does not let it be opened")

    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        monkeypatch.setattr(SqliteBuffer, "heads", refuse)
        plant.sink.lose()  # a birth in the middle of the trouble
        broken = plant.sink
        await until(lambda: plant.sink is not broken)
        await plant.count(3)
        await until(lambda: published(plant, "production.count"))


def test_sigterm_is_a_stop_in_order(tmp_path, monkeypatch):
    """The signal of systemd ends ``serve`` like the stop above, and the handler is gone afterwards."""

    async def told(plant: Plant) -> None:
        await until(lambda: plant.driver.idle and plant.driver.accepted)
        os.kill(os.getpid(), signal.SIGTERM)

    def runner(main) -> None:
        async def both() -> None:
            await asyncio.gather(main, told(plants[0]))

        asyncio.run(both())

    plants: list[Plant] = []
    plants.append(Plant(tmp_path, monkeypatch))
    serve(plants[0].config, plants[0].clock, runner=runner)
    assert plants[0].happened[-3:] == ["agent.stopped", "offline", "broker closed"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
