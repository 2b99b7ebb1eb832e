"""The subscriber of a peer: ``python -m benchmarks.peers.listening --port P --peer KEY --tags JSON``.

Connects anew by itself when the broker comes back. Every line on its standard input is a question: empty for the figures of now, or the first and
last running number between which samples that did not arrive are to be counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from collections import Counter
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.peers.peers import PEERS
from benchmarks.peers.seen import Seen


class Listening:
    """A client, and what it has seen."""

    def __init__(self, peer: str, port: int) -> None:
        self.seen = Seen()
        self.connected = 0
        self.gaps: list[dict[str, Any]] = []
        self.events: Counter[str] = Counter()
        self._peer, self._port = PEERS[peer], port
        self.lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listening", protocol=mqtt.MQTTv311)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message

    def run(self) -> None:
        """Stay connected, in a thread of its own; a broker that is away is asked for again every 20 ms."""
        while True:
            with contextlib.suppress(OSError):
                self._client.connect("127.0.0.1", self._port)
                while self._client.loop(1.0) == mqtt.MQTT_ERR_SUCCESS:
                    pass
            time.sleep(0.02)

    def _subscribe(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe("#", qos=1)

    def _subscribed(self, *_: Any) -> None:
        with self.lock:
            self.connected += 1

    def _message(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        now, payload = time.time_ns() // 1000, bytes(message.payload)
        with self.lock:
            if b'"edgeagent.' in payload[:400]:
                self._event(payload)
            self.seen.take(self._peer.parse(message.topic, payload), now)
        answer = self._peer.answer(message.topic, payload)
        if answer is not None:
            self._client.publish(*answer, qos=1)

    def _event(self, payload: bytes) -> None:
        event = json.loads(payload)
        if isinstance(event, dict) and "columns" not in event.get("data", {}):
            self.events[str(event.get("type"))] += 1
            if "collection.gap" in event["type"]:
                self.gaps.append(event["data"])

    def figures(self) -> dict[str, Any]:
        """Return what has arrived so far."""
        return self.seen.figures() | {"connected": self.connected, "gaps": self.gaps, "events": dict(self.events)}


def main() -> None:
    """Run until the standard input ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--peer", required=True, choices=sorted(PEERS))
    options.add_argument("--tags", type=json.loads, required=True, help="names of the tags, as a JSON list")
    told = options.parse_args()
    listening = Listening(told.peer, told.port)
    threading.Thread(target=listening.run, daemon=True).start()
    while not listening.connected:
        time.sleep(0.01)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        with listening.lock:
            answer: dict[str, Any] = listening.figures()
            if line.strip():
                first, last = map(int, line.split())
                answer["missing"] = listening.seen.missing(told.tags, first, last)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
