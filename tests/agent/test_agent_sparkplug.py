"""A whole agent with a Sparkplug output: what it mirrors, and what it tells afterwards, held against the specification."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import pytest
from agent_process import CONFIG, Plant

from edge_agent.config.load import load
from edge_agent.model.reading import DeviceDown
from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger
from simulators.mqtt_recorder import Recorder
from simulators.sparkplug_check import Checker, read_recording, report
from simulators.sparkplug_wire import read


class SparkplugPlant(Plant):
    """A plant whose agent also speaks Sparkplug."""

    port = broker_port = 0

    @property
    def config(self):
        """The configuration with an output more."""
        output = {"profile": "sparkplug", "broker": f"mqtt://127.0.0.1:{self.port}", "allow_insecure": True, "report": "20ms"}
        file = self.folder / "agent.yaml"
        buffer = {"path": str(self.folder / "buffer"), "min_free": 0}
        file.write_text(json.dumps(CONFIG | {"buffer": buffer, "outputs": {"scada": output}}))
        return load(file)


@asynccontextmanager
async def _world(plant: SparkplugPlant):
    """Run a broker and a recorder before it."""
    ledger = BrokerLedger(plant.folder / "ledger.jsonl")
    broker = Broker(ledger, Faults())
    await broker.listen("127.0.0.1", 0)
    recorder = Recorder(plant.folder / "recording.jsonl", ("127.0.0.1", broker.port))
    await recorder.listen("127.0.0.1", 0)
    plant.port, plant.broker_port = recorder.port, broker.port
    try:
        yield recorder
    finally:
        await recorder.close()
        await broker.close()
        await ledger.close()


def _said(plant: SparkplugPlant, verb: str):
    """Return the payloads of one verb, in order."""
    lines = read_recording(plant.folder / "recording.jsonl")
    mine = [line for line in lines if line["what"] == "publish" and line["from"] == "client"]
    return [read(base64.b64decode(line["payload64"])) for line in mine if line["topic"].split("/")[2] == verb]


def _totals(payloads):
    """Return (total, historical) of every message that carries one."""
    metrics = [metric for payload in payloads for metric in payload.metrics]
    return [(metric.value, metric.is_historical) for metric in metrics if metric.name == "Admin/Count/total/Total"]


async def _until(holds) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a file that grows rings no bell
            await asyncio.sleep(0.01)


@pytest.fixture
def plant(tmp_path, monkeypatch) -> SparkplugPlant:
    """A plant on its own."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return SparkplugPlant(tmp_path, monkeypatch)


async def test_the_agent_is_an_edge_node(plant):
    """Births name the counter, parts are told as they come, a lost device dies and comes back, and a farewell ends it: 0 violations."""
    async with _world(plant):
        async with plant.running():
            await _until(lambda: _said(plant, "DBIRTH"))
            await plant.count(3)
            await _until(lambda: (3, False) in _totals(_said(plant, "DDATA")))
            plant.driver.put(plant.scan())
            await plant.count(4)
            await _until(lambda: (7, False) in _totals(_said(plant, "DDATA")))
            down = DeviceDown("plc1", plant.clock.now(), None, "cut")
            plant.driver.put(_with(plant.scan(), down))
            await _until(lambda: _said(plant, "DDEATH"))
            plant.driver.put(plant.scan(up=True))
            await _until(lambda: len(_said(plant, "DBIRTH")) == 2)
        await _until(lambda: _said(plant, "NDEATH"))
    checker = Checker(fresh=True)
    checker.check(read_recording(plant.folder / "recording.jsonl"))
    assert not checker.breaches, report(checker)
    assert _totals(_said(plant, "DBIRTH"))[-1] == (7, False)


def _with(batch, notice):
    """Return a batch without rows that brings ``notice``."""
    return type(batch)("plc1", batch.received, [], [], [], [], [], before=(notice,))


async def test_what_was_missed_is_told_as_history(plant):
    """Parts made while no broker was there come after the births with their own times and is_historical; bdSeq goes on over a restart."""
    async with _world(plant) as recorder:
        async with plant.running():
            await _until(lambda: _said(plant, "DBIRTH"))
            await plant.count(3)
            await _until(lambda: (3, False) in _totals(_said(plant, "DDATA")))
            recorder.broker = ("127.0.0.1", 1)
            recorder.cut()
            await plant.count(5)
            await plant.count(6)
            plant.clock.advance(1)
            recorder.broker = ("127.0.0.1", plant.broker_port)
            await _until(lambda: (8, True) in _totals(_said(plant, "DDATA")))
            await _until(lambda: (14, True) in _totals(_said(plant, "DDATA")))
            assert _totals(_said(plant, "DBIRTH"))[-1] == (14, False)
        async with plant.running():
            await _until(lambda: len(_said(plant, "NBIRTH")) == 3)
    numbers = [next(m.value for m in payload.metrics if m.name == "bdSeq") for payload in _said(plant, "NBIRTH")]
    assert numbers == sorted(set(numbers))
    checker = Checker(fresh=False)
    checker.check(line for line in read_recording(plant.folder / "recording.jsonl"))
    assert not [each for each in checker.breaches if "bdseq" not in each.statement.lower()], report(checker)
