"""The consumer as a process, between a real broker and a real database: whatever is killed, the books are the truth."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import trustme
from consumer_bench import SOURCE, piece
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.consumer.database import Database, open_database
from edge_agent.model.errors import StorageError

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
BASE = "edge/v1/acme/plant1/_agent/gw-l3"
TOPIC = "edge/v1/acme/plant1/packaging/line3/filler/_event"
pytestmark = [pytest.mark.mosquitto, pytest.mark.skipif(MOSQUITTO is None, reason="the mosquitto broker is not installed")]


class Broker:
    """Mosquitto without persistence: a kill loses sessions, queues and retained messages, the worst that a broker can do."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._file = folder / "mosquitto.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 100\n")
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._file)], stdout=log, stderr=log)
        wait(self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Agent:
    """Speaks as an agent does: numbered events by QoS 1, resent on request, a checkpoint; its store outlives its death."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.store: list[bytes] = []
        self.made = 0
        self.delivered = 0
        self.first_kept = 1
        self._lock = threading.Lock()
        self.marks: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.client = self._make()

    def _make(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-l3", protocol=mqtt.MQTTv5)
        client.on_connect = lambda c, *_: c.subscribe([(f"{BASE}/cmd/resend", 1), (f"{BASE}/confirmed/+", 1)])
        client.on_message = self._heard
        client.reconnect_delay_set(1, 1)
        client.connect_async("127.0.0.1", self.port, keepalive=5)
        client.loop_start()
        return client

    def _heard(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if "/confirmed/" in message.topic:
            self.marks.append(body)
            return
        self.asked.append(body)
        first, last = max(body["from_seq"], self.first_kept), min(body["to_seq"], len(self.store))
        for seq in range(first, last + 1):
            self.client.publish(TOPIC, self.store[seq - 1], qos=1)
        answer = {"ok": True, "resent": max(0, last - first + 1), "waiting": 0, "last": len(self.store)}
        answer["not_kept"] = max(0, min(body["to_seq"], self.first_kept - 1) - body["from_seq"] + 1)
        reply = Properties(PacketTypes.PUBLISH)
        reply.CorrelationData = message.properties.CorrelationData
        self.client.publish(message.properties.ResponseTopic, json.dumps(answer), qos=1, properties=reply)

    def make(self, count: int) -> None:
        """Make ``count`` events and publish them, if there is a broker; what is lost on the way is in the store."""
        with self._lock:
            for _ in range(count):
                self.made += 1
                self.store.append(piece(len(self.store) + 1, 1, self.made))
                self.client.publish(TOPIC, self.store[-1], qos=1)

    def announce(self) -> None:
        """Retain status and checkpoint."""
        last = len(self.store)
        status = {"status": "online", "agent": "gw-l3", "session": "s", "version": "1", "health": "ok", "devices": {}}
        self.client.publish(f"{BASE}/status", json.dumps(status), qos=1, retain=True)
        proof = {"stream": "filler", "time": "2026-10-25T05:00:00Z", "epoch": "E1", "first_seq": self.first_kept, "last_seq": last}
        proof |= {"published_seq": last, "watermark": "2026-10-25T05:00:00Z", "totals": {"total": self.made}}
        self.client.publish(f"{BASE}/checkpoint/filler", json.dumps(proof), qos=1, retain=True)

    def kill(self) -> None:
        """Drop the connection and everything in flight."""
        self.client.loop_stop()
        with contextlib.suppress(OSError, AttributeError):
            self.client.socket().close()

    def start(self) -> None:
        """Come back with the store as it was; what may not have arrived is not sent again unless somebody asks."""
        self.client = self._make()


class Consumer:
    """``edge-agent consume`` as a process."""

    def __init__(self, folder: Path, port: int, url: str) -> None:
        self._command = [sys.executable, "-m", "edge_agent", "consume", "--database", url, "--broker", f"mqtt://127.0.0.1:{port}"]
        self._command += ["--allow-insecure", "--patience", "0.5"]
        self.log = folder / "consumer.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*self._command, *more], stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """End it as systemd does, and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        self._process = None
        return code


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def booked(url: str) -> tuple[int, int]:
    """Return (events applied, pieces booked), as another program sees it."""
    try:
        database: Database = open_database(url, create=False)
    except Exception:  # noqa: BLE001 - not there yet; the wait around it says so in the end
        return 0, 0
    try:
        events, pieces = database.read("SELECT (SELECT COUNT(*) FROM inbox), (SELECT COALESCE(SUM(delta), 0) FROM counts)")[0]
    except StorageError:
        return 0, 0
    finally:
        database.close()
    return events, int(pieces)


@pytest.fixture
def scene(tmp_path: Path, url: str) -> Iterator[tuple[Broker, Agent, Consumer, str]]:
    """Give a broker, an agent and a consumer, all started."""
    broker = Broker(tmp_path)
    broker.start()
    agent, consumer = Agent(broker.port), Consumer(tmp_path, broker.port, url)
    consumer.start()
    try:
        yield broker, agent, consumer, url
    finally:
        consumer.kill()
        agent.kill()
        broker.kill()


@pytest.mark.timeout(240)
def test_kill_9_of_consumer_broker_and_agent_in_turn_leaves_the_truth(scene: tuple[Broker, Agent, Consumer, str]) -> None:
    """Events go on while each of the three is killed, twice; in the end every piece is booked once, and the stream is complete."""
    broker, agent, consumer, url = scene
    agent.make(40)
    agent.announce()
    wait(lambda: booked(url)[0] >= 40)
    for _ in range(2):
        agent.make(60)
        consumer.kill()
        agent.make(60)
        consumer.start()
        agent.make(20)
        broker.kill()
        agent.make(30)
        broker.start()
        agent.make(10)
        agent.kill()
        agent.make(25)  # its PLC goes on; it has them in its store, and nobody has sent them
        agent.start()
        agent.make(5)
        wait(agent.client.is_connected)
        agent.announce()
        wait(lambda: booked(url)[0] == len(agent.store))
    assert booked(url) == (460, 460)
    assert consumer.stop() == 0
    database = open_database(url)
    assert database.read("SELECT high, complete_to FROM streams WHERE source = ?", (SOURCE,)) == [
        (460, "2026-10-25T05:00:00.000000Z")
    ]
    assert database.read("SELECT * FROM missing_ranges") == []
    assert database.read("SELECT * FROM consumer_alarms") == []
    database.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_new_consumer_asks_for_what_was_before_it(scene: tuple[Broker, Agent, Consumer, str]) -> None:
    """What the agent still has is fetched, what it has no more is named, and the watermark is confirmed."""
    _, agent, consumer, url = scene
    agent.store = [piece(seq, 1, seq) for seq in range(1, 31)]
    agent.made, agent.first_kept = 30, 11
    wait(agent.client.is_connected)
    agent.make(1)
    agent.announce()
    wait(lambda: booked(url)[0] == 21)
    wait(lambda: {"epoch": "E1", "seq": 31} in agent.marks)
    assert consumer.stop() == 0
    database = open_database(url)
    assert database.read("SELECT first_seq, last_seq, how FROM missing_ranges") == [(1, 10, "not_kept")]
    database.close()
    assert agent.asked[0]["from_seq"] == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_second_consumer_of_one_database_is_refused(scene: tuple[Broker, Agent, Consumer, str], tmp_path: Path) -> None:
    """Two would take turns at the broker; the second says so and ends with 78, so that systemd does not try again."""
    broker, agent, _, url = scene
    wait(agent.client.is_connected)
    agent.make(1)
    agent.announce()
    wait(lambda: booked(url)[0] == 1)
    other = subprocess.run(
        [sys.executable, "-m", "edge_agent", "consume", "--database", url, "--broker", f"mqtt://127.0.0.1:{broker.port}", "--allow-insecure"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert other.returncode == 78
    assert "another consumer" in other.stderr


@pytest.mark.timeout(120)
def test_a_database_that_crashes_delays_and_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    """PostgreSQL is killed in the middle: nothing is acknowledged meanwhile, the claim is taken again, and everything is booked once."""
    url = cluster.database()
    broker = Broker(tmp_path)
    broker.start()
    agent, consumer = Agent(broker.port), Consumer(tmp_path, broker.port, url)
    consumer.start()
    try:
        wait(agent.client.is_connected)
        agent.make(20)
        agent.announce()
        wait(lambda: booked(url)[0] == 20)
        cluster.stop(hard=True)
        agent.make(50)
        wait(lambda: "consumer.waits" in consumer.log.read_text(errors="replace"))
        cluster.start()
        agent.make(30)
        wait(lambda: booked(url) == (100, 100))
        assert consumer.stop() == 0
    finally:
        consumer.kill()
        agent.kill()
        broker.kill()


@pytest.mark.timeout(60)
def test_the_broker_is_believed_by_its_ca_only(tmp_path: Path) -> None:
    """Over TLS the consumer connects to a broker whose certificate the CA signed, and to no other."""
    right, wrong = trustme.CA(), trustme.CA()
    for name, authority in (("right", right), ("wrong", wrong)):
        authority.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    right.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "broker.pem")
    broker = Broker(tmp_path)
    with (tmp_path / "mosquitto.conf").open("a") as settings:
        settings.write(f"certfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.pem\nuser root\n")
    broker.start()
    consumers = {}
    try:
        for name in ("right", "wrong"):
            (tmp_path / name).mkdir()
            url = f"sqlite:///{tmp_path}/{name}/books.db"
            consumer = consumers[name] = Consumer(tmp_path / name, broker.port, url)
            consumer._command = [
                word.replace("mqtt://127.0.0.1", "mqtts://localhost") for word in consumer._command if word != "--allow-insecure"
            ]
            consumer.start("--ca", str(tmp_path / f"{name}.pem"), "--client-id", name)
        wait(lambda: "consumer.connected" in consumers["right"].log.read_text())
        wait(lambda: "certificate verify failed" in consumers["wrong"].log.read_text())
        assert [one.stop() for one in consumers.values()] == [0, 0]
        assert "consumer.connected" not in consumers["wrong"].log.read_text()
    finally:
        for consumer in consumers.values():
            consumer.kill()
        broker.kill()
