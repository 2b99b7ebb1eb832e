"""An edge node with a made-up machine behind it, a recorder before it, and a host beside it: what the Sparkplug tests share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
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
LOT = Metric("Context/Lot", DataType.STRING)
SPEED = Metric("Status/CurMachSpeed", DataType.FLOAT)
ENERGY = Metric("Energy/el/Total_kWh", DataType.DOUBLE, "KWH")
BLOCKED = Metric("Status/EquipmentBlocked", DataType.BOOLEAN)


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
        values = [(COUNT, Sample(self.count, now)), (STATE, Sample(-6, now - 5_000_000_000)), (LOT, Sample(None, now))]
        return News("birth", device, [*values, *((metric, Sample(value, now)) for metric, value in self._course())])

    def _course(self) -> list[tuple[Metric, Any]]:
        """Return what changes with every part, in every type there is."""
        return [
            (SPEED, self.count + 0.5),
            (ENERGY, self.count / 10),
            (BLOCKED, self.count % 2 == 1),
            (ORDER, f"WO-{self.count} ü"),
        ]

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
        new = [Change(metric, Sample(value, now)) for metric, value in self._course()]
        return [*old, Change(COUNT, Sample(self.count, now, Quality.GOOD)), *new]

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
    given |= {"report": "20ms"}
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


async def whole_session(file: Path, broker: int, **changes: Any) -> list[str]:
    """Record everything that happens to an edge node; return the verbs that its primary host ``scada`` heard.

    A host that is away and comes, data, an old offline, a rebirth, a device that goes and comes with history, a cut cable, the host that flaps, and a farewell.
    """
    machine, host = Machine(), await asyncio.to_thread(Host, broker)
    say = partial(asyncio.to_thread, host.say)  # the broker may be one of our own loop
    try:
        await say(False, 1000)
        async with recording(file, broker) as recorder, playing(recorder.port, machine, primary_host="scada", **changes):
            await until(lambda: '"subscribe"' in file.read_text())
            await say(True, 2000)
            await until(lambda: machine.said > 3)
            await say(False, 1999)
            await say(True, 2001)  # what is retained has to be true again
            host.rebirth()
            await until(lambda: machine.births_told == 2)
            machine.gone.add("capper")
            await until(lambda: "DDEATH:capper" in host.verbs())
            machine.gone.clear()
            machine.history = 3
            await until(lambda: host.verbs().count("DBIRTH:capper") == 3)
            recorder.cut()
            await _more(machine, births=3)
            for at in (3000, 3002):
                await say(False, at)
                away = 2 + (at - 2998) // 2
                await until(lambda away=away: file.read_text().count('"subscribe"') == away)  # type: ignore[misc]
                await say(True, at + 1)
                await _more(machine, births=away + 1)
        await until(lambda: host.verbs()[-1] == "NDEATH")
        return host.verbs()
    finally:
        host.close()


async def _more(machine: Machine, births: int) -> None:
    """Wait for births and for data after them."""
    await until(lambda: machine.births_told == births)
    said = machine.said
    await until(lambda: machine.said > said + 3)
