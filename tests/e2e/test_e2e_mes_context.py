"""The order from the MES, over a real broker into a real agent process: right at each time, whatever else is sent, and nothing of it reaches the PLC."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
TOPIC = "acme/mes/press/order"
pytestmark = [pytest.mark.mosquitto, pytest.mark.skipif(MOSQUITTO is None, reason="the mosquitto broker is not installed")]


def wait(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Return what ``condition`` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


class Plc(socketserver.ThreadingTCPServer):
    """A press with a counter at register 0, fifty parts a second; it keeps what was asked of it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.began = time.monotonic()
        super().__init__(("127.0.0.1", 0), _Serve)

    def count(self) -> int:
        """Return how many parts there are."""
        return int((time.monotonic() - self.began) * 50)


class _Serve(socketserver.BaseRequestHandler):
    server: Plc

    def handle(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            while True:
                tid, _, length, unit = struct.unpack(">HHHB", self._take(7))
                pdu = self._take(length - 1)
                self.server.asked.append((pdu[0], pdu))
                body = bytes((pdu[0], 2)) + struct.pack(">H", self.server.count() & 0xFFFF)
                self.request.sendall(struct.pack(">HHHB", tid, 0, len(body) + 1, unit) + body)

    def _take(self, length: int) -> bytes:
        got = b""
        while len(got) < length:
            if not (more := self.request.recv(length - len(got))):
                raise OSError("closed")
            got += more
        return got


class Stage:
    """Broker, PLC, agent and the MES, which publishes the order and keeps every event."""

    def __init__(self, folder: Path, plc: Plc) -> None:
        self.folder, self.plc = folder, plc
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        conf = f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
        (folder / "mosquitto.conf").write_text(conf + ("user root\n" if os.geteuid() == 0 else ""))
        self.events: list[dict[str, Any]] = []
        self.broker: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.mes: mqtt.Client | None = None

    def start_broker(self) -> None:
        """Start the broker, and connect the MES."""
        with (self.folder / "broker.log").open("ab") as log:
            self.broker = subprocess.Popen([str(MOSQUITTO), "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log)

        def listens() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return True
            return False

        wait(listens)
        self.mes = mqtt.Client(CallbackAPIVersion.VERSION2, "mes", protocol=mqtt.MQTTv5)
        self.mes.on_message = lambda _c, _u, message: self._heard(message)
        self.mes.connect("127.0.0.1", self.port)
        self.mes.subscribe("edge/#", 1)
        self.mes.loop_start()

    def stop_broker(self) -> None:
        """End the broker, and the MES's connection."""
        if self.mes is not None:
            self.mes.loop_stop()
            self.mes.disconnect()
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(10)

    def _heard(self, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/_event"):
            self.events.append(json.loads(message.payload))

    def say(self, payload: bytes, *, retain: bool = True) -> None:
        """Publish on the order's topic, and wait until the broker has it."""
        assert self.mes is not None
        self.mes.publish(TOPIC, payload, 1, retain=retain).wait_for_publish(10)

    def start_agent(self) -> None:
        """Start the agent."""
        config = {
            "version": 1, "agent": "gw1", "site": ["acme", "plant1"],
            "mqtt": {"broker": f"mqtt://127.0.0.1:{self.port}", "allow_insecure": True},
            "buffer": {"path": str(self.folder / "buffer"), "min_free": 0},
            "devices": [{
                "version": 1, "device": "plc", "driver": "modbus", "host": "127.0.0.1", "port": self.plc.server_address[1], "unit_id": 1, "poll": "500ms",
                "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}},
            }],
            "units": [{
                "version": 1, "unit": "press", "path": ["acme", "plant1", "hall"], "context": {"order": {"mqtt": TOPIC, "member": "id", "pattern": "WO-[0-9]+"}},
                "counters": {"total": {"tag": "plc.count", "role": "total", "wraps": "uint16", "max_rate": "500/s"}},
            }],
        }  # fmt: skip
        file = self.folder / "agent.yaml"
        file.write_text(json.dumps(config))
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([sys.executable, "-m", "edge_agent", "run", "-c", str(file)], stdout=log, stderr=log)

    def memory(self) -> int:
        """Return the agent's resident memory in MB."""
        assert self.agent is not None
        text = Path(f"/proc/{self.agent.pid}/status").read_text(encoding="ascii")
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024

    def end(self) -> None:
        """Stop the agent in order, then the broker."""
        if self.agent is not None:
            self.agent.send_signal(signal.SIGTERM)
            self.agent.wait(30)
        self.stop_broker()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a type, each once, in the order of their numbers."""
        found = {event["id"]: event for event in self.events if kind in event["type"]}
        return sorted(found.values(), key=lambda event: event["id"])

    def counted(self, order: str | None) -> int:
        """Return how many parts are booked to an order."""
        return sum(event["data"]["delta"] for event in self.of("production.count") if event["data"]["ctx"]["order"] == order)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Return a stage with a PLC and a broker that run."""
    with Plc() as plc:
        serving = threading.Thread(target=plc.serve_forever, args=(0.05,))
        serving.start()
        stage = Stage(tmp_path, plc)
        try:
            stage.start_broker()
            yield stage
        finally:
            stage.end()
            plc.shutdown()
            serving.join()


@pytest.mark.timeout(120)
def test_the_order_is_the_mess_whatever_happens_to_the_broker(stage: Stage) -> None:
    """Retained before the start, changed while running, kept while the broker is away, and found changed when it is back; every part is booked."""
    stage.say(b'{"id":"WO-1"}')
    stage.start_agent()
    wait(lambda: stage.counted("WO-1"), 30)
    before = stage.plc.count()
    stage.say(b'{"id":"WO-2"}')
    wait(lambda: stage.of("order.started"))
    after = stage.plc.count()
    wait(lambda: stage.counted("WO-2") > 10)
    ended = stage.of("order.completed")[0]["data"]
    assert ended["order"] == "WO-1"
    told = [
        (event["data"]["ctx"]["order"], event["data"]["delta"], event["data"]["spans"]) for event in stage.of("production.count")
    ]
    until = _baseline(stage) + stage.counted(None) + stage.counted("WO-1")
    assert before <= until <= after, f"the counter was read with the change: {told}"
    assert stage.of("order.started")[0]["data"]["source"] == "mes"
    stage.stop_broker()
    time.sleep(1.5)
    stage.start_broker()
    stage.say(b'{"id":"WO-3"}')
    wait(lambda: [event for event in stage.of("order.started") if event["data"]["order"] == "WO-3"], 40)
    wait(lambda: stage.counted("WO-3") > 10)
    counts = stage.of("production.count")
    assert {event["data"]["ctx"]["order"] for event in counts} - {None} == {"WO-1", "WO-2", "WO-3"}
    assert [event["data"]["order"] for event in stage.of("order.completed")] == ["WO-1", "WO-2"]
    assert sum(event["data"]["delta"] for event in counts) == counts[-1]["data"]["total"]
    assert all(event["data"]["spans"] == [] for event in counts)
    assert {function for function, _ in stage.plc.asked} == {3}


@pytest.mark.timeout(120)
def test_an_order_changed_while_the_agent_was_dead_owns_nothing_of_that_time(stage: Stage) -> None:
    """Killed, the order changed and retained, started again: the parts in between have both candidates; killed again, the order the same: they are its own."""
    stage.say(b'{"id":"WO-1"}')
    for _ in range(2):
        before = stage.counted("WO-1")
        stage.start_agent()
        wait(lambda before=before: stage.counted("WO-1") > before + 20, 40)
        assert stage.agent is not None
        stage.agent.kill()
        stage.agent.wait(10)
    stage.say(b'{"id":"WO-2"}')
    stage.start_agent()
    wait(lambda: stage.counted("WO-2") > 10, 40)
    recovered = [event["data"] for event in stage.of("production.count") if event["data"]["derivation"] == "recovered"]
    assert [(data["ctx"]["order"], data.get("candidates")) for data in recovered] == [
        ("WO-1", None), (None, {"order": ["WO-1", "WO-2"]}),
    ]  # fmt: skip


def _baseline(stage: Stage) -> int:
    """Return the register's first value."""
    return next(
        int(event["data"]["raw_after"]) for event in stage.of("counter.discontinuity") if event["data"]["kind"] == "baseline"
    )


@pytest.mark.timeout(120)
def test_hostile_messages_change_nothing_and_fill_nothing(stage: Stage) -> None:
    """Large, unprintable and wrong messages leave the order that was known; a flood ends in its last word, in bounded memory and with a bounded number of polls."""
    stage.say(b'{"id":"WO-1"}')
    stage.start_agent()
    wait(lambda: stage.counted("WO-1"), 30)
    memory = stage.memory()
    for payload in (b"x" * 262_144, b'{"id":"' + b"9" * 262_000 + b'"}', b'{"id":"WO-1\\u0000"}', b'{"id":"\x1b[2J"}', b"\x00\xff", b"{", b"[" * 3000, b'{"id":{}}', b'{"id":"RM -RF"}'):  # fmt: skip
        stage.say(payload, retain=False)
    raised = wait(lambda: stage.of("agent.fault"))[0]["data"]
    assert (raised["code"], raised["action"], raised["topic"]) == ("context_refused", "raised", TOPIC)
    made = stage.counted("WO-1")
    wait(lambda: stage.counted("WO-1") > made + 20)
    asked, began = len(stage.plc.asked), time.monotonic()
    assert stage.mes is not None
    for number in range(2000):
        stage.mes.publish(TOPIC, b'{"id":"WO-%d"}' % (100 + number), 0)
        if number % 20 == 0:
            stage.mes.publish(TOPIC, b"y" * 262_144, 0)
            time.sleep(0.01)
    stage.say(b'{"id":"WO-2"}')
    wait(lambda: stage.counted("WO-2") > 10, 40)
    took = time.monotonic() - began
    assert len(stage.plc.asked) - asked <= 2 * took + 6 * took + 10, (
        "two polls a second of its own, and one for each change that is taken"
    )
    assert stage.memory() - memory < 50
    assert stage.of("order.started")[-1]["data"]["order"] == "WO-2"
    counts = stage.of("production.count")
    assert sum(event["data"]["delta"] for event in counts) == counts[-1]["data"]["total"]
    assert {pdu for _, pdu in stage.plc.asked} == {b"\x03\x00\x00\x00\x01"}, "one read of one register, again and again"
    assert [event["data"]["action"] for event in stage.of("agent.fault")][:2] == ["raised", "cleared"]
