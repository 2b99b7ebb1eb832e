"""What the MES says: heard, judged, handed over behind a reading of the counters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from agent_bench import ManualClock, turns, until
from structlog.testing import capture_logs

from edge_agent.agent.mes import MesContext
from edge_agent.events.mescontext import DEVICE, MqttTopic, Topics
from edge_agent.model.reading import Batch
from edge_agent.publish.listening import Listening

ORDER, LOT = MqttTopic(mqtt="mes/order", member="id"), MqttTopic(mqtt="mes/lot")
SOURCES = Topics((("order", ORDER), ("lot", LOT)))


class Line:
    """A unit and its collector in one, which note in which order they were asked."""

    name = "filler"

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.busy = asyncio.Event()
        self.busy.set()

    async def deliver(self, batch: Batch) -> None:
        """Take a sample of the context."""
        assert batch.device == DEVICE
        self.said.append(dict(zip(batch.tags, batch.values, strict=True)))

    async def read_now(self, within: float) -> None:
        """Read the counters, which takes until the test says so."""
        assert within > 0
        self.said.append("read")
        await self.busy.wait()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Line, Callable[[str, bytes], None], MesContext]]:
    """Listen for one line."""
    line = Line()
    mes = MesContext(cast("Any", [(line, SOURCES)]), cast("Any", {"filler": [line]}), ManualClock())
    task = asyncio.create_task(mes.run())
    try:
        yield line, mes.listen(Listening((), lambda _t, _p: None)).heard, mes
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_counters_are_read_before_a_change_is_handed_over() -> None:
    """What was made until now must be booked before the order changes."""
    async with listening() as (line, heard, _):
        line.busy.clear()
        heard("mes/order", b'{"id":"A"}')
        await until(lambda: line.said)
        await turns()
        assert line.said == ["read"]
        line.busy.set()
        await until(lambda: len(line.said) > 1)
        assert line.said == ["read", {0: "A"}]


async def test_the_same_word_again_reads_nothing_and_is_still_a_sample() -> None:
    """A retained message comes again with each connection: it confirms what is known."""
    async with listening() as (line, heard, _):
        heard("mes/order", b'{"id":"A"}')
        await until(lambda: len(line.said) == 2)
        heard("mes/order", b'{"id":"A"}')
        await until(lambda: len(line.said) == 3)
        assert line.said == ["read", {0: "A"}, {0: "A"}]


async def test_what_comes_together_is_one_change_and_a_flood_keeps_its_last_word() -> None:
    """A thousand messages on one topic are one sample, with the newest value."""
    async with listening() as (line, heard, _):
        for number in range(1000):
            heard("mes/order", b'{"id":"WO-%d"}' % number)
        heard("mes/lot", b"L-7")
        await until(lambda: len(line.said) == 2)
        await turns()
        assert line.said == ["read", {0: "WO-999", 1: "L-7"}]


async def test_nonsense_is_counted_told_once_and_changes_nothing() -> None:
    """What is known stays, and the log is not flooded."""
    with capture_logs() as logs:
        async with listening() as (line, heard, mes):
            heard("mes/order", b'{"id":"A"}')
            await until(lambda: len(line.said) == 2)
            for number in range(1, 4):
                heard("mes/order", b"\xff")
                await until(lambda number=number: mes.refused == number)
            assert line.said == ["read", {0: "A"}]
    assert [log["event"] for log in logs] == ["context.refused"]


async def test_other_topics_go_to_who_listened_before() -> None:
    """The consumer's watermarks are heard over the same connection."""
    others: list[tuple[str, bytes]] = []
    mes = MesContext(cast("Any", [(Line(), SOURCES)]), {}, ManualClock())
    both = mes.listen(Listening(("confirmed/+",), lambda topic, payload: others.append((topic, payload))))
    assert both.filters == ("confirmed/+", "mes/lot", "mes/order")
    both.heard("confirmed/filler", b"1")
    assert others == [("confirmed/filler", b"1")]
    alone = Listening(("x",), lambda _t, _p: None)
    assert MesContext([], {}, ManualClock()).listen(alone) is alone


async def test_a_message_that_is_not_believed_is_a_fault_until_one_is() -> None:
    """People at the MES look at events, not at a gateway's log: raised once with cause and remedy, cleared by the next good message."""
    said: list[Any] = []

    async def tell(event: Any) -> None:
        said.append(event)

    async with listening() as (line, heard, mes):
        mes.tell = tell
        heard("mes/order", b"\xff")
        await until(lambda: said)
        heard("mes/order", b"{")
        await until(lambda: mes.refused == 2)
        heard("mes/order", b'{"id":"A"}')
        await until(lambda: len(said) == 2)
        heard("mes/order", b"{")
        await until(lambda: mes.refused == 3)
        await turns()
        assert line.said == ["read", {0: "A"}]
    assert [(event.type, event.data["action"], event.data["code"], event.data["topic"]) for event in said] == [
        ("agent.fault", "raised", "context_refused", "mes/order"),
        ("agent.fault", "cleared", "context_refused", "mes/order"),
    ]
    assert "not believed: it is no JSON object" in said[0].data["text"]
    assert said[0].data["remedy"]


async def test_a_flood_of_changes_is_read_for_a_few_times_a_second() -> None:
    """Whoever may write to the topic makes a PLC be read no more often than that, and its last word counts."""
    async with listening() as (line, heard, _):
        began = asyncio.get_running_loop().time()
        number = 0
        while asyncio.get_running_loop().time() < began + 0.7:
            number += 1
            heard("mes/order", b'{"id":"WO-%d"}' % number)
            await asyncio.sleep(0.002)
        await until(lambda: line.said[-1] == {0: f"WO-{number}"})
        assert line.said.count("read") <= 6
