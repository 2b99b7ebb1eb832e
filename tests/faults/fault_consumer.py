"""A consumer with a persistent session that confirms what it has applied, and asks for nothing: what it misses the agent must find out."""

from __future__ import annotations

import json
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.inbox import Inbox, Stream

BASE = "edge/v1/acme/plant1/_agent/gw1"


class Consumer:
    """One session; `come` and `go` as often as wanted."""

    def __init__(self, port: int) -> None:
        self.inbox = Inbox()
        self.confirming = True
        self._port = port
        self._lock = threading.Lock()

    def come(self) -> None:
        """Connect with a new client, keeping the session."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="mes", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("edge/v1/#", qos=1)
        self._client.on_message = lambda _client, _data, message: self._take(message)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", self._port, keepalive=10, clean_start=False, properties=session)
        self._client.loop_start()

    def go(self) -> None:
        """Leave; the session stays at the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def high(self, stream: str = "filler") -> int:
        """Return up to where a stream is applied."""
        with self._lock:
            return max((last for source, _, last in self.inbox.watermarks() if source.endswith(f"/{stream}")), default=0)

    def say(self, stream: str, payload: str) -> None:
        """Retain anything as a watermark."""
        self._client.publish(f"{BASE}/confirmed/{stream}", payload, qos=1, retain=True)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        if not message.topic.endswith("/_event") or message.retain:
            return
        event = json.loads(message.payload)
        with self._lock:
            if event["source"] not in self.inbox.streams:  # it came later than the agent: its account begins here
                epoch = event["data"]["epoch"]
                self.inbox.streams[event["source"]] = Stream(epoch, event["data"]["seq"] - 1, epochs=[epoch])
            for _ in self.inbox.receive(event, time.monotonic()):
                pass
            marks = list(self.inbox.watermarks())
        if self.confirming:
            for source, epoch, last in marks:
                stream = source.split("/", 4)[4].replace("/", "%2F")
                self.say(stream, json.dumps({"epoch": epoch, "seq": last}))
