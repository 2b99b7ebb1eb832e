"""Brokers and records for the publishing tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from publish_setting import EPOCH, STREAMS, TOPICS, WILL, free_port

from edge_agent.model.stream import Entry, Record, RecordKey
from edge_agent.ports import Document
from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Memory
from edge_agent.publish.mqtt import MqttSink, connect


@pytest.fixture
def record() -> Callable[..., Record]:
    """Return a maker of records, numbered as told."""

    def make(seq: int, *, body: bytes = b'{"delta":1}', stream: str = "filler", resent: bool = False, **entry: Any) -> Record:
        known = {"type": "edgeagent.production.count.v1", "time": 1_793_000_000_250_000_000, "recorded": 1_793_000_000_301_000_000}
        return Record(RecordKey(stream, EPOCH, seq), Entry(stream, entry.pop("kind", "E"), body=body, **{**known, **entry}), resent)

    return make


@pytest.fixture
def open_sink() -> Callable[..., AbstractAsyncContextManager[MqttSink]]:
    """Return a function that connects to a loopback port with short machine times."""

    def open_(
        port: int, *, online: tuple[Document, ...] = (), memory: Memory | None = None, **changes: Any
    ) -> AbstractAsyncContextManager[MqttSink]:
        scheme = "mqtts" if "tls" in changes else "mqtt"
        base = {"broker": f"{scheme}://127.0.0.1:{port}", "allow_insecure": True, "ack_timeout": "2s", "connect_timeout": "2s"}
        config = MqttConfig.model_validate({**base, **changes})
        return connect(config, topics=TOPICS, streams=STREAMS, will=WILL, online=online, memory=memory)

    return open_


class Mosquitto:
    """A real broker as a process, with a store of its own in ``folder``."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\n"
            f"autosave_interval 1\nautosave_on_changes true\nlog_dest none\n{settings}\n"
            + ("user root\n" if os.geteuid() == 0 else "")  # else it changes to a user who cannot read this folder
        )

    def start(self) -> None:
        """Start and return when the port answers."""
        self._process = subprocess.Popen(
            [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", self._folder / "mosquitto.conf"]
        )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            assert self._process.poll() is None, "mosquitto did not start"
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Return a starter of mosquitto brokers; without the program the tests that need it are skipped, saying so."""
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        pytest.skip("the mosquitto broker is not installed (apt install mosquitto)")
    started: list[Mosquitto] = []

    def start(settings: str = "allow_anonymous true") -> Mosquitto:
        folder = tmp_path / f"broker{len(started)}"
        folder.mkdir()
        broker = Mosquitto(folder, settings)
        broker.start()
        started.append(broker)
        return broker

    yield start
    for broker in started:
        broker.kill()
