"""The service under a systemd that has booted: started with its credential, reloaded, killed, frozen, upgraded, stopped; Debian 12 and 13."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from booted import Booted, impossible, told
from clean_root import PATH, ROOT, built, renumbered

sys.path.insert(0, str(ROOT / "tests" / "cli"))
from live_agent import Plc  # a neighbour's device

UNIT = "edge-agent.service"
PASSWORD = "canary-Qe4-broker-password"
CREDENTIAL = f"/run/credentials/{UNIT}/mqtt_password"
RELEASES = {"12": "bookworm", "13": "trixie"}
_REASON = impossible()
pytestmark = [pytest.mark.ux, pytest.mark.timeout(900), pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]


def wait(condition: Any, seconds: float, machine: Booted) -> Any:
    """Return what ``condition`` returns as soon as it is true; fail after ``seconds`` with the journal."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    pytest.fail(f"nothing in {seconds} s; {machine.journal('-u', UNIT, '-n', '30')}")


class Broker:
    """mosquitto with one user, and somebody who notes the numbers of each stream's records."""

    def __init__(self, folder: Path) -> None:
        """Start both."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        users = folder / "users"
        users.touch(0o600)
        subprocess.run(["mosquitto_passwd", "-b", str(users), "line", PASSWORD], check=True, env=os.environ | {"PATH": PATH})
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\npersistence false\nmax_queued_messages 0\nuser root\n"
        )
        self.heard: defaultdict[str, set[int]] = defaultdict(set)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [str(shutil.which("mosquitto", path=PATH)), "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="witness")
        self._client.username_pw_set("line", PASSWORD)
        self._client.on_message = self._note
        self._client.on_connect = lambda *_: self._client.subscribe("#", qos=1)
        while self._client_connects() is False:
            time.sleep(0.05)
        self._client.loop_start()

    def _client_connects(self) -> bool:
        assert self._process.poll() is None, "mosquitto ended"
        try:
            self._client.connect("127.0.0.1", self.port)
        except OSError:
            return False
        return True

    def _note(self, _: Any, __: Any, message: mqtt.MQTTMessage) -> None:
        try:
            event = json.loads(message.payload)
        except ValueError:
            return
        if not message.retain and isinstance(event, dict) and "specversion" in event:
            with self._lock:
                self.heard[event["source"]].add(int(event["sequence"]))

    def whole(self) -> dict[str, int]:
        """Return how many records of each stream came; fails when a number between the first and the last is missing."""
        with self._lock:
            found = {source: set(numbers) for source, numbers in self.heard.items()}
        for source, numbers in found.items():
            assert numbers == set(range(min(numbers), max(numbers) + 1)), source
        return {source: len(numbers) for source, numbers in found.items()}

    def close(self) -> None:
        """End both."""
        self._client.disconnect()
        self._client.loop_stop()
        self._process.terminate()
        self._process.wait(10)


class Gateway:
    """A machine with the package, a Modbus device that counts, and a broker that wants a password."""

    def __init__(self, folder: Path, release: str) -> None:
        """Boot it, install the package, write the configuration and the drop-in of the password."""
        done = built(folder, "--arch", "amd64", "--release", release, "--only", "deb", "--fast")
        assert done.returncode == 0, told(done)
        (self.package,) = folder.glob("edge-agent_*_amd64.deb")
        self.folder, self.plc, self.broker = folder, Plc(), Broker(folder)
        self.machine = Booted(folder, RELEASES[release])
        self.install(self.package)
        (self.machine.file("/etc/edge-agent/agent.yaml")).write_text(self.text())
        secret = self.machine.file("/etc/edge-agent/mqtt_password")
        secret.touch(0o600)
        secret.write_text(PASSWORD + "\n")
        self.drop_in("password", f"LoadCredential=mqtt_password:/etc/edge-agent/{secret.name}")

    def text(self, poll: str = "100ms", workers: int = 0) -> str:
        """Return the configuration."""
        tags = {"count": {"register": "holding", "address": 0, "type": "uint16"}}
        device = {"version": 1, "device": "plc1", "driver": "modbus", "host": "127.0.0.1", "port": self.plc.port, "unit_id": 1, "poll": poll, "tags": tags}  # fmt: skip
        counter = {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "500/s"}
        unit = {"version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"], "counters": {"total": counter}}
        way = {
            "broker": f"mqtt://127.0.0.1:{self.broker.port}",
            "allow_insecure": True,
            "username": "line",
            "password_file": CREDENTIAL,
        }
        store = {"path": "/var/lib/edge-agent/buffer", "min_free": 0}
        return json.dumps(
            {"version": 1, "agent": "gw1", "site": ["acme", "plant1"], "buffer": store, "mqtt": way, "workers": workers, "devices": [device], "units": [unit]},
            indent=1,
        )  # fmt: skip

    def configure(self, text: str) -> None:
        """Write agent.yaml."""
        self.machine.file("/etc/edge-agent/agent.yaml").write_text(text)

    def drop_in(self, name: str, line: str) -> None:
        """Add a line to the service."""
        file = self.machine.file(f"/etc/systemd/system/{UNIT}.d/{name}.conf")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"[Service]\n{line}\n")
        self.do("systemctl", "daemon-reload")

    def do(self, *words: object) -> str:
        """Run a command that must succeed; returns what it said."""
        done = self.machine.run(*words)
        assert done.returncode == 0, told(done)
        return done.stdout + done.stderr

    def install(self, package: Path) -> str:
        """Have dpkg install a package."""
        shutil.copy(package, self.machine.file("/opt"))
        return self.do("dpkg", "-i", f"/opt/{package.name}")

    def process(self) -> int:
        """Return the agent's process; 0 when there is none."""
        return int(self.machine.shown(UNIT, "MainPID")["MainPID"])

    def state(self) -> str:
        """Return what systemd says of the service: ``active/running``."""
        found = self.machine.shown(UNIT, "ActiveState", "SubState")
        return f"{found['ActiveState']}/{found['SubState']}"

    def running(self, but: int = 0, seconds: float = 30) -> int:
        """Wait until the service runs as another process than ``but`` and its events arrive; returns the process."""
        wait(lambda: self.state() == "active/running" and self.process() not in {0, but}, seconds, self.machine)
        before = sum(self.broker.whole().values())
        wait(lambda: sum(len(numbers) for numbers in self.broker.heard.values()) > before + 3, seconds, self.machine)
        return self.process()

    def close(self) -> None:
        """End everything."""
        self.machine.close()
        self.broker.close()
        self.plc.close()


@pytest.fixture(params=sorted(RELEASES))
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway on which nothing runs yet."""
    found = Gateway(tmp_path, request.param)
    yield found
    found.close()


def test_the_service_under_systemd(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """It starts with its credential, takes over changed files, comes back when killed or frozen, is upgraded, stops; no record's number is missing."""
    first = started(gateway)
    reloaded(gateway, first)
    again = killed(gateway, first)
    thawed = frozen(gateway, again)
    in_workers(gateway, thawed)
    upgraded(gateway)
    stopped(gateway)
    mistaken(gateway)
    with capsys.disabled():
        version = gateway.do("systemctl", "--version").splitlines()[0]
        print(f"\n{version}: records without a hole {gateway.broker.whole()}, over a kill, a watchdog, two restarts and an upgrade")


def started(gateway: Gateway) -> int:
    """Nothing runs by itself; started, it has its password as a credential, no right that it does not need, and says what it does."""
    assert gateway.state() == "inactive/dead"
    gateway.do("systemctl", "enable", "--now", UNIT)
    process = gateway.running()
    status = gateway.do("cat", f"/proc/{process}/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    assert "Seccomp:\t2" in status
    assert gateway.machine.shown(UNIT, "StatusText") == {"StatusText": "running"}
    assert "gw1" in gateway.do("edge-agent", "status")
    assert '"link.up"' in gateway.machine.journal("-u", UNIT, "EDGE_AGENT_EVENT=link.up", "-o", "json")
    for what in ("cmdline", "environ"):
        assert PASSWORD not in gateway.do("cat", f"/proc/{process}/{what}")
    return process


def reloaded(gateway: Gateway, process: int) -> None:
    """`systemctl reload` ends when changed files are taken over, and fails where they are wrong; the process stays."""
    gateway.configure(gateway.text(poll="50ms"))
    gateway.do("systemctl", "reload", UNIT)
    gateway.configure(gateway.text(poll="50"))
    refused = gateway.machine.run("systemctl", "reload", UNIT)
    assert refused.returncode != 0
    assert "status=78/CONFIG" in gateway.machine.journal("-u", UNIT, "-n", "20")
    gateway.configure(gateway.text(poll="50ms"))
    assert gateway.running() == process


def killed(gateway: Gateway, process: int) -> int:
    """After a kill -9 it is there again."""
    gateway.do("systemctl", "kill", "-s", "KILL", UNIT)
    return gateway.running(but=process)


def frozen(gateway: Gateway, process: int) -> int:
    """An agent that stands still is noticed by the watchdog and started again."""
    gateway.drop_in("watchdog", "WatchdogSec=4s")
    gateway.do("systemctl", "restart", UNIT)
    process = gateway.running(but=process)
    gateway.do("systemctl", "kill", "-s", "STOP", UNIT)
    process = gateway.running(but=process, seconds=40)
    assert "Watchdog timeout" in gateway.machine.journal("-u", UNIT)
    return process


def in_workers(gateway: Gateway, process: int) -> None:
    """A worker lives in the service and may do no more than it."""
    gateway.configure(gateway.text(poll="50ms", workers=2))
    gateway.do("systemctl", "restart", UNIT)
    process = gateway.running(but=process)
    workers = (
        gateway.do("pgrep", "-P", process).split()
        if gateway.machine.file("/usr/bin/pgrep").exists()
        else _children(gateway, process)
    )
    assert workers
    for worker in workers:
        status = gateway.do("cat", f"/proc/{worker}/status")
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status


def _children(gateway: Gateway, process: int) -> list[str]:
    return gateway.do("cat", f"/proc/{process}/task/{process}/children").split()


def upgraded(gateway: Gateway) -> None:
    """A newer package restarts the agent that runs, which goes on where it was."""
    process = gateway.process()
    gateway.install(renumbered(gateway.package, "0.9.0", gateway.folder))
    gateway.running(but=process)
    assert "0.9.0" in gateway.do("edge-agent", "status")


def stopped(gateway: Gateway) -> None:
    """A stop is an orderly one, within its time, and leaves no process."""
    gateway.do("systemctl", "stop", UNIT)
    found = gateway.machine.shown(UNIT, "Result", "ExecMainStatus", "ActiveState")
    assert found == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    assert "edge-agent" not in gateway.do("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").replace("cat /proc", "")
    assert PASSWORD not in gateway.machine.journal()


def mistaken(gateway: Gateway) -> None:
    """With a mistake in its files it does not start, says which, and is not tried again."""
    gateway.configure(gateway.text(poll="50"))
    assert gateway.machine.run("systemctl", "start", UNIT).returncode != 0
    time.sleep(2.5)
    found = gateway.machine.shown(UNIT, "ActiveState", "NRestarts", "ExecMainStatus")
    assert (found["ActiveState"], found["ExecMainStatus"]) == ("failed", "78")
    assert "is not a duration" in gateway.machine.journal("-u", UNIT, "-n", "20")
