"""The newest value of each telemetry tag: what is told, how often, and when it is taken away."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from agent_bench import FakeSink, at, others, turns, until
from agent_process import CONFIG, Plant

from edge_agent.agent.values import Values
from edge_agent.config.load import load
from edge_agent.model.errors import RejectedError
from edge_agent.model.instant import MS, NS
from edge_agent.model.reading import Batch, DeviceDown, Quality
from edge_agent.publish.config import MqttConfig

COUNT, ORDER = "edge/v1/acme/filler/_value/plc1/count", "edge/v1/acme/filler/_value/plc1/order"


def _values(expiry: int = 300 * NS) -> Values:
    return Values({"plc1": [(COUNT,), (ORDER,), ()], "plc2": [()]}, every=5 * MS, expiry=expiry)


def _batch(seconds: float, count, order="WO-1", *, quality: int = 0, **more) -> Batch:
    columns = [0, 1, 2], [count, order, "nobody asked"], [quality, 0, 0], [0] * 3, [0] * 3
    return Batch("plc1", at(seconds), *columns, **more)


@asynccontextmanager
async def _telling(values: Values, sink: FakeSink):
    """Run the mirror on ``sink``."""
    task = asyncio.create_task(values.run(sink))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
        assert not others()


def _told(sink: FakeSink, topic: str = COUNT) -> list[bytes]:
    return [document.payload for document in sink.documents if document.topic == topic]


async def test_exactly_two_members():
    """A value is its time in ms and itself, retained, with an expiry, and nowhere for ever; tags that nobody asked for are not shown."""
    values, sink = _values(), FakeSink()
    await values.deliver(_batch(1.5, 7))
    async with _telling(values, sink):
        await until(lambda: len(sink.documents) == 2)
    assert {document.topic for document in sink.documents} == {COUNT, ORDER}
    assert json.loads(_told(sink)[0]) == {"timestamp_ms": at(1.5) // MS, "value": 7}
    assert all(document.retain and document.expiry == 300 and not document.lasting for document in sink.documents)
    assert values.devices == {"plc1"}


async def test_the_last_value_wins_while_nobody_listens():
    """Of a thousand samples one is told when a sink comes, the newest; a new connection is told everything anew."""
    values = _values()
    for number in range(1000):
        await values.deliver(_batch(number, number))
    for _ in range(2):
        sink = FakeSink()
        async with _telling(values, sink):
            await until(lambda sink=sink: len(sink.documents) == 2)
            await asyncio.sleep(0.02)
        assert [json.loads(each)["value"] for each in _told(sink)] == [999]


async def test_a_change_during_the_acknowledgement_is_told_next():
    """A newer value that comes while the older one is under way is not lost, and a tag is never under way twice."""
    values, sink, flying = _values(), FakeSink(), []
    wait = asyncio.Event()

    class Slow(FakeSink):
        async def announce(self, document):
            if document.topic == COUNT:
                flying.append(document.topic)
                assert len(flying) == 1
                await wait.wait()
                flying.pop()
            await super().announce(document)

    sink = Slow()
    await values.deliver(_batch(1, 1))
    async with _telling(values, sink):
        await until(lambda: flying)
        await values.deliver(_batch(2, 2))
        await values.deliver(_batch(3, 3))
        await turns()
        wait.set()
        await until(lambda: len(_told(sink)) == 2)
    assert [json.loads(each)["value"] for each in _told(sink)] == [1, 3]


@pytest.mark.parametrize("bad", [{"count": 8, "quality": int(Quality.BAD)}, {"count": None}, {"count": float("nan")}])
async def test_a_bad_sample_takes_the_value_away(bad):
    """It has no member to say that it is bad, so an empty message removes it (MQTT 5.0, 3.3.1.3); the next good one, also the same, is back."""
    values, sink = _values(), FakeSink()
    async with _telling(values, sink):
        for batch in (_batch(1, 7), _batch(2, **bad), _batch(3, 7)):
            before = len(_told(sink))
            await values.deliver(batch)
            await until(lambda before=before: len(_told(sink)) > before)
    assert [bool(each) for each in _told(sink)] == [True, False, True]
    assert [document.lasting for document in sink.documents if document.topic == COUNT] == [False, True, False]


async def test_a_lost_device_takes_its_values_away():
    """A device that does not answer has no values, before it is back."""
    values, sink = _values(), FakeSink()
    async with _telling(values, sink):
        await values.deliver(_batch(1, 7))
        await until(lambda: len(sink.documents) == 2)
        await values.deliver(Batch("plc1", at(2), before=(DeviceDown("plc1", at(2), None, "cut"),)))
        await until(lambda: len(sink.documents) == 4)
    assert _told(sink)[-1] == _told(sink, ORDER)[-1] == b""


async def test_history_is_not_the_present():
    """What was sampled while nobody listened goes into telemetry, never here."""
    values, sink = _values(), FakeSink()
    await values.deliver(_batch(9, 9))
    await values.deliver(_batch(2, 2, historical=True))
    async with _telling(values, sink):
        await until(lambda: len(sink.documents) == 2)
    assert json.loads(_told(sink)[0])["value"] == 9


async def test_what_still_holds_is_told_again_before_it_expires():
    """With the newest time; what does not change is not told otherwise."""
    values, sink = _values(expiry=NS), FakeSink()
    await values.deliver(_batch(1, 7))
    async with _telling(values, sink):
        await until(lambda: len(_told(sink)) == 1)
        await values.deliver(_batch(2, 7))
        await asyncio.sleep(0.05)
        assert len(_told(sink)) == 1
        await until(lambda: len(_told(sink)) == 2)
    assert json.loads(_told(sink)[1]) == {"timestamp_ms": at(2) // MS, "value": 7}


async def test_a_refused_topic_is_tried_once_a_connection():
    """A broker that forbids one topic gets the others, and hears of this one at the next connection."""
    values, tried = _values(), []

    def refuse(document):
        if document.topic == COUNT:
            tried.append(document.payload)
            raise RejectedError("not authorized")

    sink = FakeSink()
    sink.on_announce = refuse
    async with _telling(values, sink):
        for number in range(5):
            await values.deliver(_batch(number, number, order=f"WO-{number}"))
            await until(lambda number=number: f"WO-{number}" in str(_told(sink, ORDER)[-1:]))
    assert len(tried) == 1


class ValuesPlant(Plant):
    """A plant whose agent mirrors its telemetry."""

    profile = "cloudevents"

    @property
    def config(self):
        """The configuration with telemetry and its mirror."""
        file = self.folder / "agent.yaml"
        unit = CONFIG["units"][0] | {"telemetry": {"tags": ["plc1.count"]}}
        mqtt = CONFIG["mqtt"] | {"profile": self.profile, "values": {"every": "100ms"}}
        buffer = {"path": str(self.folder / "buffer"), "min_free": 0}
        file.write_text(json.dumps(CONFIG | {"buffer": buffer, "mqtt": mqtt, "units": [unit]}))
        return load(file)


@pytest.mark.parametrize(
    ("profile", "topic"),
    [
        ("cloudevents", "edge/v1/acme/plant1/line1/filler/_value/plc1/count"),
        ("umh", "umh/v1/acme/plant1/line1/filler/_raw/plc1/count"),
    ],
)
async def test_a_whole_agent_mirrors_its_telemetry(tmp_path, monkeypatch, profile, topic):
    """Parts made are seen on the tag's own topic, which the profile names."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    plant = ValuesPlant(tmp_path, monkeypatch)
    plant.profile = profile
    async with plant.running():
        await until(lambda: _told(plant.sink, topic))
        await plant.count(3)
        await until(lambda: len(_told(plant.sink, topic)) == 2)
    values = [json.loads(each) for each in _told(plant.sink, topic)]
    assert [each["value"] for each in values[:2]] == [100, 103]
    assert all(set(each) == {"timestamp_ms", "value"} for each in values)


def test_when_values_are_mirrored():
    """On request; profile umh has them unless null is written; an expiry that could not be kept alive is refused."""
    broker = {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}
    assert MqttConfig.model_validate(broker).values is None
    assert MqttConfig.model_validate(broker | {"values": {}}).values is not None
    assert MqttConfig.model_validate(broker | {"profile": "umh"}).values is not None
    assert MqttConfig.model_validate(broker | {"profile": "umh", "values": None}).values is None
    with pytest.raises(ValueError, match="six times"):
        MqttConfig.model_validate(broker | {"values": {"every": "5s", "expiry": "10s"}})
