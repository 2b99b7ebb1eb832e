"""The demo line with all its faults, and the consumer beside the witness, killed again and again: both say the same."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.consumer.database import open_database

ROOT = Path(__file__).resolve().parents[2]
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = [pytest.mark.scenarios, pytest.mark.skipif(MOSQUITTO is None, reason="the mosquitto broker is not installed")]


def start(log: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a program whose words go to ``log``."""
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


@pytest.mark.timeout(400)
def test_a_consumer_that_is_killed_again_and_again_books_what_the_witness_saw(tmp_path: Path) -> None:
    """Agent killed and links cut by the scenario, the broker killed without persistence, the consumer every ten seconds: its books are the witness's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "m.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    url, verdict = f"sqlite:///{tmp_path}/books.db", tmp_path / "verdict.json"
    broker_command = (str(MOSQUITTO), "-c", str(tmp_path / "m.conf"))
    agent = (sys.executable, "-m", "edge_agent")
    consume = (
        *agent,
        "consume",
        "--database",
        url,
        "--broker",
        f"mqtt://127.0.0.1:{port}",
        "--allow-insecure",
        "--patience",
        "0.5",
    )
    demo = (*agent, "demo", "--once", "--faults", "--speed", "8", "--broker", f"127.0.0.1:{port}", "--json", str(verdict))
    broker = start(tmp_path / "broker.log", *broker_command)
    consumer = start(tmp_path / "consumer.log", *consume)
    time.sleep(1)  # the demo asks the broker at once
    play = start(tmp_path / "demo.log", *demo)
    try:
        for turn in range(60):
            try:
                play.wait(10)
                break
            except subprocess.TimeoutExpired:
                consumer.kill()
                consumer.wait()
                if turn == 4:
                    broker.kill()
                    broker.wait()
                    broker = start(tmp_path / "broker.log", *broker_command)
                consumer = start(tmp_path / "consumer.log", *consume)
        time.sleep(10)  # a hole at the end is asked for, and answered by nobody: the agent is gone
        consumer.terminate()
        assert consumer.wait(30) == 0
    finally:
        for process in (play, consumer, broker):
            process.kill()
            process.wait()
    rows = {row["what"]: row["received"] for row in json.loads(verdict.read_text(encoding="utf-8"))["rows"]}
    books = open_database(url)
    for order, *made in books.read("SELECT order_id, total, scrap, good FROM order_totals"):
        assert rows[f"order {order} total/scrap/good"] == "/".join(map(str, made))
    counted = books.read("SELECT SUM(delta) FROM counts WHERE counter = 'total'")
    assert rows["counter total: counted"] == str(counted[0][0])
    assert books.read("SELECT * FROM missing_ranges") == []
    assert books.read("SELECT * FROM consumer_alarms") == []
    books.close()
