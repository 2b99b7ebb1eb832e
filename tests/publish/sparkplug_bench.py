"""An edge node with a made-up machine behind it, a recorder before it, and a host beside it: what the Sparkplug tests share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.agent.link import Link, keep_open
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.publish.sparkplug.connect import Ways, connect
from edge_agent.publish.sparkplug.descriptor import Payload
from edge_agent.publish.sparkplug.feed import News
from edge_agent.publish.sparkplug.metric import Change, DataType, Metric, Quality, Sample
from edge_agent.publish.sparkplug.names import Node
from simulators.mqtt_recorder import Recorder

NODE = Node("acme_plant1", "gw-l3")
COUNT = Metric("Admin/Count/total/Total", DataType.INT64, "H87")
STATE = Metric("Status/StateCurrent", DataType.INT32)
ORDER = Metric("Context/Order", DataType.STRING)


class Machine:
    """A feed with two devices: every call of `news` counts one part at each that is there."""

    def __init__(self) -> None:
        self.count = 0
        self.gone: set[str] = set()
        self.shown: set[str] = set()
        self.history = 0
        self.bdseq = -1
        self.births_told = 0
        self.said = 0
        self.proven = 0

    def now(self) -> int:
        return time.time_ns()

    def node(self) -> list[tuple[Metric, Sample]]:
        return [(Metric("Properties/Software", DataType.STRING), Sample("edge-agent", self.now()))]

    def _born(self, device: str) -> News:
        self.shown.add(device)
        now = self.now()
        values = [(COUNT, Sample(self.count, now)), (STATE, Sample(6, now - 5_000_000_000)), (ORDER, Sample(None, now))]
        return News("birth", device, values)

    async def births(self, *, again: bool) -> list[News]:
        self.births_told += 1
        self.shown = set()
        return [self._born(device) for device in ("capper", "filler") if device not in self.gone]

    async def news(self) -> list[News]:
        self.count += 1
        found: list[News] = []
        for device in ("capper", "filler"):
            if (device in self.shown) == (device in self.gone):
                if device in self.gone:
                    self.shown.discard(device)
                    found.append(News("death", device))
                else:
                    found.append(self._born(device))
            elif device in self.shown:
                found.append(News("data", device, changes=self._changes()))
        return found

    def _changes(self) -> list[Change]:
        now = self.now()
        old = [Change(COUNT, Sample(self.count - 1000, now - 60_000_000_000), historical=True)] * self.history
        return [*old, Change(COUNT, Sample(self.count, now, Quality.GOOD))]

    def told(self) -> None:
        self.said = self.count

    def place(self) -> int:
        return self.said

    def confirmed(self, place: int) -> None:
        self.proven = place

    async def next_bdseq(self) -> int:
        self.bdseq = (self.bdseq + 1) % 256
        return self.bdseq


@contextlib.asynccontextmanager
async def playing(port: int, machine: Machine, **changes: Any) -> AsyncIterator[Link]:
    """Run the edge node against the broker on ``port`` until the block ends, then let it say farewell."""
    ports = changes.pop("ports", [port])
    given = {"profile": "sparkplug", "broker": [f"mqtt://127.0.0.1:{each}" for each in ports], "allow_insecure": True}
    given |= {"report": "20ms", "connect_timeout": "1s"}
    config = SparkplugConfig.model_validate(given | changes)
    link, ways, finish = Link("bench", "sparkplug"), Ways(config), asyncio.Event()

    async def use(node: Any) -> None:
        running, finishing = asyncio.create_task(node.run()), asyncio.create_task(finish.wait())
        try:
            await asyncio.wait((running, finishing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (running, finishing):
                task.cancel()
            await asyncio.wait((running, finishing))
        if not running.cancelled():
            running.result()

    async def lost(_: Exception) -> None:
        return

    def pauses() -> Any:
        while True:
            yield 0.1

    task = asyncio.create_task(keep_open(link, lambda: connect(config, NODE, machine, ways, machine.next_bdseq), use, lost, pauses))
    try:
        yield link
        finish.set()
        if link.up:
            await asyncio.wait((task,), timeout=5)
    finally:
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


@contextlib.asynccontextmanager
async def recording(file: Path, port: int) -> AsyncIterator[Recorder]:
    """Stand between the edge node and the broker on ``port``."""
    recorder = Recorder(file, ("127.0.0.1", port))
    await recorder.listen("127.0.0.1", 0)
    try:
        yield recorder
    finally:
        await recorder.close()


class Host:
    """A primary host of paho's making, in the library's own thread."""

    def __init__(self, port: int, name: str = "scada") -> None:
        self.seen: list[tuple[str, bytes]] = []
        self._topic = f"spBv1.0/STATE/{name}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"host-{name}-{port}")
        self._client.on_message = lambda _c, _u, message: self.seen.append((message.topic, bytes(message.payload)))
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("spBv1.0/#")
        self._client.loop_start()

    def say(self, online: bool, timestamp: int) -> None:
        """Publish a STATE."""
        body = json.dumps({"online": online, "timestamp": timestamp})
        self._client.publish(self._topic, body, qos=1, retain=True).wait_for_publish(5)

    def rebirth(self, value: bool = True) -> None:
        """Ask for births."""
        command = Payload(timestamp=time.time_ns() // 1_000_000)
        command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=value)
        self._client.publish(NODE.topic("NCMD"), command.SerializeToString(), qos=0)

    def verbs(self) -> list[str]:
        """Return what was heard, by verb and device."""
        return [":".join(part for place, part in enumerate(topic.split("/")) if place in {2, 4}) for topic, _ in self.seen]

    def close(self) -> None:
        """Go away."""
        self._client.disconnect()
        self._client.loop_stop()


async def until(holds: Callable[[], Any], seconds: float = 8.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what others do rings no bell here
            await asyncio.sleep(0.01)
