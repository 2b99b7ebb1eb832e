"""A gateway from its first package to its purge, in a clean root: nothing starts by itself, and no event is lost on the way."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from clean_root import PATH, ROOT, CleanRoot, built, environment, impossible, renumbered

sys.path.insert(0, str(ROOT / "tests" / "cli"))
from live_agent import Plc  # a neighbour's device

NEWER = "0.9.0"
STORE = "/var/lib/edge-agent/buffer"
_REASON = impossible()
pytestmark = [pytest.mark.ux, pytest.mark.timeout(1500), pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(condition: Any, seconds: float) -> Any:
    """Return what ``condition`` returns as soon as it is true; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"nothing in {seconds} s")


class Gateway:
    """A clean root with one line: a Modbus device that counts, and a broker that comes late."""

    def __init__(self, folder: Path, plc: Plc) -> None:
        """Unpack the root and build two packages."""
        self.root, self.folder, self.plc, self.broker = CleanRoot(folder), folder, plc, free_port()
        done = built(folder, "--arch", "amd64", "--release", "12", "--only", "deb", "--fast")
        assert done.returncode == 0, done.stderr
        (self.old,) = folder.glob("edge-agent_*_amd64.deb")
        self.version = self.old.name.split("_")[1]
        self.new = renumbered(self.old, NEWER, folder)

    def install(self, package: Path) -> subprocess.CompletedProcess[str]:
        """Have dpkg install a package in the root."""
        shutil.copy(package, self.root.path / "tmp")
        return self.root.run("dpkg", "-i", f"/tmp/{package.name}")

    def agent(self, *words: object, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of edge-agent; a traceback is a failure."""
        done = self.root.run("edge-agent", *words, user=user)
        assert "Traceback" not in done.stdout + done.stderr, done
        return done

    def configure(self) -> None:
        """Write the configuration as an engineer would, as root."""
        device = {"version": 1, "device": "plc1", "driver": "modbus", "host": "127.0.0.1", "port": self.plc.port, "unit_id": 1, "poll": "20ms",
                  "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}}}  # fmt: skip
        unit = {"version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"],
                "counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "500/s"}}}  # fmt: skip
        content = {"version": 1, "agent": "gw1", "site": ["acme", "plant1"], "buffer": {"path": STORE, "min_free": 0},
                   "mqtt": {"broker": f"mqtt://127.0.0.1:{self.broker}", "allow_insecure": True}, "devices": [device], "units": [unit]}  # fmt: skip
        (self.root.path / "etc/edge-agent/agent.yaml").write_text(json.dumps(content))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the agent as the unit does, as its user, until the block ends; the end is an orderly one."""
        log = (self.folder / "agent.log").open("a+")
        with log, subprocess.Popen(
            self.root.command("edge-agent", "run", "--config", "/etc/edge-agent", user="edge-agent"),
            stdout=log, stderr=log, env=environment(EDGE_AGENT_BUFFER=STORE),
        ) as process:  # fmt: skip
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                code = process.wait(60)
        assert code == 0, (self.folder / "agent.log").read_text()[-3000:]

    def waiting(self) -> list[tuple[str, str]]:
        """Return source and id of every event that is not delivered, as `buffer export` of a stopped agent tells them."""
        done = self.agent("buffer", "export", "--store", STORE)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [(event["source"], event["id"]) for event in events]

    def depth(self) -> int:
        """Return how much waits, as the running agent tells it; before it listens nobody may open its store in its place."""
        if not (self.root.path / STORE.lstrip("/") / "gw1.sock").is_socket():
            return 0
        found = json.loads(self.agent("buffer", "status", "--json").stdout)
        return int(found["waiting_events"] + found["waiting_telemetry"])


@contextmanager
def mosquitto(gateway: Gateway) -> Iterator[Counter[tuple[str, str]]]:
    """Run mosquitto and somebody who counts each event that comes."""
    config = gateway.folder / "mosquitto.conf"
    config.write_text(
        f"listener {gateway.broker} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nuser root\n"
    )
    program = shutil.which("mosquitto", path=PATH)
    heard: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def on_message(_: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        try:
            event = json.loads(message.payload)
        except ValueError:
            return
        if not message.retain and isinstance(event, dict) and "specversion" in event:
            with lock:
                heard[event["source"], event["id"]] += 1

    with subprocess.Popen([str(program), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as broker:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="witness")
        client.on_message = on_message
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        try:
            wait(lambda: _listens(gateway.broker), 20)
            client.connect("127.0.0.1", gateway.broker)
            client.loop_start()
            yield heard
        finally:
            client.disconnect()
            client.loop_stop()
            broker.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway on which nothing is installed yet."""
    plc = Plc()
    try:
        yield Gateway(tmp_path, plc)
    finally:
        plc.close()


def test_the_life_of_a_gateway(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """Installed, configured, filled, upgraded, taken back, delivered, refused what would harm it, removed, purged."""
    installed(gateway)
    filled(gateway)
    before = gateway.waiting()
    upgraded(gateway, before)
    with gateway.running():
        time.sleep(3)
    both = gateway.waiting()
    assert both[: len(before)] == before
    assert len(both) > len(before)
    taken_back(gateway, both)
    twice = delivered(gateway, both)
    with capsys.disabled():
        print(
            f"\n{len(before)} events unsent before the upgrade and after it, {len(both)} before the way back and after it; "
            f"{len(both)} of them delivered to mosquitto, {twice} more than once"
        )
    refused(gateway)
    removed(gateway)


def installed(gateway: Gateway) -> None:
    """Nothing starts; the user is there; without a configuration the agent says so and ends with 78."""
    done = gateway.install(gateway.old)
    assert done.returncode == 0, done
    assert "nothing runs before there is a configuration" in done.stdout
    assert gateway.root.told() == ["daemon-reload"]
    place = gateway.root.path / "etc/edge-agent"
    assert place.stat().st_mode & 0o777 == 0o750
    assert gateway.root.run("stat", "-c", "%U:%G", "/etc/edge-agent", "/var/lib/edge-agent").stdout.split() == [
        "root:edge-agent",
        "edge-agent:edge-agent",
    ]
    assert gateway.agent("run").returncode == 78
    gateway.configure()
    done = gateway.agent("check", user="edge-agent")
    assert done.returncode == 0, done


def filled(gateway: Gateway) -> None:
    """The line runs, and nobody takes its events."""
    with gateway.running():
        wait(lambda: gateway.depth() >= 300, 120)
        status = gateway.agent("status", "--brief")
    assert status.returncode in {1, 2}, status  # the broker is away
    assert "gw1" in status.stdout


def upgraded(gateway: Gateway, before: list[tuple[str, str]]) -> None:
    """An agent that runs is restarted; the buffer holds what it held."""
    (gateway.root.path / "active").touch()
    done = gateway.install(gateway.new)
    assert done.returncode == 0, done
    assert gateway.root.told()[:3] == ["daemon-reload", "is-active --quiet edge-agent.service", "try-restart edge-agent.service"]
    assert gateway.agent("--version").stdout == f"edge-agent {NEWER}\n"
    assert gateway.waiting() == before


def taken_back(gateway: Gateway, both: list[tuple[str, str]]) -> None:
    """The version before reads what the newer one has written; a buffer of a newer format it refuses, and changes nothing."""
    store = gateway.root.path / STORE.lstrip("/") / "buffer.db"
    content = store.read_bytes()
    found = int.from_bytes(content[60:64], "big")
    store.write_bytes(content[:60] + (found + 1).to_bytes(4, "big") + content[64:])
    done = gateway.install(gateway.old)
    assert done.returncode != 0
    assert f"written by a newer version (format {found + 1}; version {gateway.version} knows {found})" in done.stderr
    assert gateway.agent("--version").stdout == f"edge-agent {NEWER}\n"
    store.write_bytes(content)
    done = gateway.install(gateway.old)
    assert done.returncode == 0, done
    assert gateway.agent("--version").stdout == f"edge-agent {gateway.version.partition('+')[0]}\n"
    assert gateway.waiting() == both


def delivered(gateway: Gateway, both: list[tuple[str, str]]) -> int:
    """Everything comes to a real broker; returns how many came more than once."""
    with mosquitto(gateway) as heard, gateway.running():
        wait(lambda: all(key in heard for key in both), 120)
    counts = Counter(heard[key] for key in both)
    assert counts[0] == 0
    return len(both) - counts[1]


def refused(gateway: Gateway) -> None:
    """A new version that finds mistakes in the configuration restarts nothing, says which, and is installed all the same."""
    gateway.root.told()
    file = gateway.root.path / "etc/edge-agent/agent.yaml"
    right = file.read_text()
    file.write_text(right.replace('"poll"', '"pool"'))
    done = gateway.install(gateway.new)
    assert done.returncode == 0, done
    assert "the version before goes on running" in done.stderr
    assert "pool" in done.stderr
    assert "try-restart edge-agent.service" not in gateway.root.told()
    file.write_text(right)


def removed(gateway: Gateway) -> None:
    """A removal leaves configuration and buffer; a purge leaves nothing, and asks nothing."""
    store = gateway.root.path / STORE.lstrip("/") / "buffer.db"
    done = gateway.root.run("dpkg", "-r", "edge-agent")
    assert done.returncode == 0, done
    assert "disable --now --quiet edge-agent.service edge-agent-consumer.service" in gateway.root.told()
    assert not (gateway.root.path / "opt/edge-agent").exists()
    assert (store.exists(), (gateway.root.path / "etc/edge-agent/agent.yaml").exists()) == (True, True)
    done = gateway.root.run("dpkg", "-P", "edge-agent")
    assert done.returncode == 0, done
    assert not store.parent.parent.exists()
    assert not (gateway.root.path / "etc/edge-agent").exists()
    assert "edge-agent" not in (gateway.root.path / "etc/passwd").read_text()
