"""A subscriber that checks every value: ``python -m benchmarks.counting --port P``.

Each sample says which tag it must be of and its running number (`source_opcua`, `source_modbus`): a lost, repeated, swapped or invented one is
counted as wrong. Latency is from the sample's own time to its arrival here. Events are counted by stream, whose numbers must have no hole.

Prints its figures for every line on its standard input and forgets the latencies then.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from datetime import datetime
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

FLOOR = 1 << 52
_LOW = (1 << 32) - 1
_MOST = 2_000_000


AGAIN = "sample told again"
"""The newest sample once more: wrong where every sample is new. An agent that stops reads everything once more and tells it, changed or not."""


class Columns(msgspec.Struct):
    """The rows of a telemetry message."""

    tag: list[int]
    dt_us: list[int]
    value: list[Any]
    q: list[int]


class Data(msgspec.Struct):
    """What the subscriber looks at of an event or a telemetry message."""

    epoch: str = ""
    seq: int = 0
    tags: msgspec.Raw = msgspec.Raw(b"[]")
    t0: str = ""
    columns: Columns | None = None


class Event(msgspec.Struct):
    """A CloudEvent."""

    source: str
    type: str
    time: str
    data: Data


class Counting:
    """What came, and what was wrong with it. `take` one message after another."""

    def __init__(self) -> None:
        self.samples = self.messages = self.bytes = self.bad = 0
        self.wrong: Counter[str] = Counter()
        self.examples: list[str] = []
        self.events: Counter[str] = Counter()
        self.latencies: list[int] = []
        self.late: list[int] = []
        self.first = self.last = 0
        self._heads: dict[bytes, list[tuple[str, int, int]]] = {}
        self._next: dict[str, int] = {}
        self._numbers: dict[tuple[str, str, bool], int] = {}
        self._decode = msgspec.json.Decoder(Event).decode

    def take(self, topic: str, payload: bytes, now: int) -> None:
        """Count one message that arrived at ``now`` (UTC ns)."""
        telemetry = topic.endswith("/_telemetry")
        if not telemetry and "/_event" not in topic:
            return
        event = self._decode(payload)
        data = event.data
        self.messages += 1
        self.bytes += len(payload)
        self._numbered(event.source, data, telemetry)
        if data.columns is None:
            self.events[event.type] += 1
            self.late.append(now // 1000 - _micros(event.time))
            return
        self.first = self.first or now
        self.last = now
        self._rows(data, data.columns, now)

    def _numbered(self, source: str, data: Data, telemetry: bool) -> None:
        stream = source, data.epoch, telemetry
        expected = self._numbers.get(stream, 0) + 1
        if data.seq != expected:
            self.wrong["hole in a stream" if data.seq > expected else "record twice"] += 1
        self._numbers[stream] = max(data.seq, expected - 1)

    def _rows(self, data: Data, columns: Columns, now: int) -> None:
        raw = bytes(data.tags)
        heads = self._heads.get(raw)
        if heads is None:
            heads = self._heads[raw] = [_head(one["tag"]) for one in msgspec.json.decode(raw)]
        following = self._next
        for place, value, quality in zip(columns.tag, columns.value, columns.q, strict=True):
            name, number, kind = heads[place]
            expected = following.get(name, 0)
            if quality or value is None:
                self.bad += 1
                continue
            found = count_of(value, number, kind)
            following[name] = found + 1 & (0xFFFF if kind == 2 else _LOW)
            if found != expected:
                self._complain(name, value, found, expected)
        self.samples += len(columns.tag)
        if len(self.latencies) < _MOST:
            age = now // 1000 - _micros(data.t0)
            self.latencies.extend([age - later for later in columns.dt_us])

    def _complain(self, name: str, value: object, found: int, expected: int) -> None:
        ahead = (found - expected + 0x8000) % 0x10000 - 0x8000 if ".r" in name else found - expected
        kind = "value of another tag" if found < 0 else "sample lost" if ahead > 0 else AGAIN if ahead == -1 else "out of order"
        self.wrong[kind] += 1
        if len(self.examples) < 10:
            self.examples.append(f"{name} = {value!r}: its number {found}, expected {expected}")

    def figures(self) -> dict[str, Any]:
        """Return everything as JSON can say it; latencies (ms) since the last call, which are forgotten."""
        latencies, self.latencies = sorted(self.latencies), []
        late, self.late = sorted(self.late), []
        return {
            "samples": self.samples, "bad": self.bad, "messages": self.messages, "bytes": self.bytes, "tags": len(self._next),
            "events": dict(self.events), "wrong": dict(self.wrong), "examples": self.examples, "first": self.first, "last": self.last,
            "latency": {name: _quantile(latencies, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
            "event_latency": {name: _quantile(late, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
        }  # fmt: skip


def count_of(value: Any, number: int, kind: int) -> int:
    """Return the running number in a value, -1 when it is not one of tag ``number``; ``kind`` 0 Int64, 1 Double, 2 a register."""
    if kind == 2:
        return (int(value) - number) & 0xFFFF
    whole = int(value) - (FLOOR if kind else 0)
    return whole & _LOW if whole >> 32 == number else -1


def _head(ref: str) -> tuple[str, int, int]:
    name = ref.rpartition(".")[2]
    return ref, int(name[1:]), "ifr".index(name[0])


def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _quantile(ordered: list[int], part: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] / 1000, 3) if ordered else None


def main() -> None:
    """Run until the standard input ends."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    told = options.parse_args()
    counting = Counting()
    lock = threading.Lock()

    def on_message(_: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        now = time.time_ns()
        with lock:
            counting.take(message.topic, bytes(message.payload), now)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-counting", protocol=mqtt.MQTTv311)

    def on_connect(*_: object) -> None:
        client.subscribe("#", qos=1)

    client.on_connect = on_connect
    client.on_subscribe = lambda *_: print(json.dumps({"ready": True}), flush=True)
    client.on_message = on_message
    client.connect("127.0.0.1", told.port)
    client.loop_start()
    for _ in sys.stdin:
        with lock:
            print(json.dumps(counting.figures()), flush=True)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
