"""The MOM side: an independent consumer that subscribes, deduplicates, orders, books, and at the end compares with the truth.

``python -m simulators.mom --scenario F --broker HOST:PORT --root edge --clock FILE --report FILE [--faults]``

It prints a line of JSON every half second (for the demo's view); on SIGTERM or SIGINT it writes the report and exits 0 when every row
agrees, 1 when one differs. It holds a persistent MQTT session, and asks for what is missing by the agent's ``cmd/resend``.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import statistics
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.books import PREFIX, Books
from simulators.clock import Clock, read_clock, start_clock
from simulators.command import address, refusals, speed
from simulators.inbox import Event, Inbox
from simulators.plant.books import PlantBooks
from simulators.plant.check import PlantCheck
from simulators.plant.schema import PlantScenario
from simulators.reconcile import Reconciliation
from simulators.scenario import load_any
from simulators.truth import truth
from simulators.vocabulary import SECOND

_PROGRESS = 0.5
_QUIET = 1.0
"""Machine seconds without a message after which, at the end, nothing more is expected."""


class Mom:
    """One consumer of one agent's topics."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare; raises ScenarioError or ClockError for files that cannot be used."""
        self.options = options
        self.scenario = load_any(options.scenario)
        self.clock: Clock = (
            start_clock(self.scenario, options.speed) if options.clock is None else read_clock(options.clock, self.scenario)
        )
        self.inbox = Inbox()
        plant = isinstance(self.scenario, PlantScenario)
        self.books = PlantBooks(self.scenario.epoch) if plant else Books(self.scenario.epoch)
        self.messages: queue.SimpleQueue[mqtt.MQTTMessage | None] = queue.SimpleQueue()
        self.status: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.checkpoints: dict[str, dict[str, Any]] = {}
        self.ticker: deque[dict[str, Any]] = deque(maxlen=12)
        self.latencies: deque[float] = deque(maxlen=400)
        self.connected = False
        self.resends = 0
        self.garbled = 0
        self._command: str | None = None
        self._confirmed: dict[str, tuple[str, int]] = {}
        self._client = self._make_client()

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"mom-{self.options.root.replace('/', '-')}", protocol=mqtt.MQTTv5
        )
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: self.messages.put(message)
        return client

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{self.options.root}/v1/#", qos=1)
        self.connected = True

    def _on_disconnect(self, *_: Any) -> None:
        self.connected = False

    def run(self) -> int:
        """Consume until told to stop; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.messages.put(None))
        host, port = self.options.broker
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it unannotated
        session.SessionExpiryInterval = 3600
        self._client.connect_async(host, port, keepalive=10, clean_start=False, properties=session)
        self._client.loop_start()
        told = 0.0
        while self._take(_PROGRESS):
            if time.monotonic() - told >= _PROGRESS:
                told = time.monotonic()
                self._ask()
                self._confirm()
                print(json.dumps(self._progress()), flush=True)
        while self._take(_QUIET, until_empty=True):
            self._ask()
        self._confirm()
        self._client.disconnect()
        self._client.loop_stop()
        return self._report()

    def _take(self, seconds: float, *, until_empty: bool = False) -> bool:
        """Handle one message; return False when told to stop, or when nothing came and only what is left was wanted."""
        try:
            message = self.messages.get(timeout=seconds)
        except queue.Empty:
            return not until_empty
        if message is None:
            return until_empty
        self._handle(message)
        return True

    def _handle(self, message: mqtt.MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        try:
            content = json.loads(message.payload)
        except ValueError:
            self.garbled += 1
            return
        if kind == "_event":
            if not message.retain:  # a retained event would be counted again by every new subscriber
                self._event(content)
        elif kind == "_telemetry":
            self._telemetry(content)
        elif kind == "_state":
            self.state = content
        elif kind == "status":
            self.status = content
            self._command = f"{message.topic.removesuffix('status')}cmd/resend"
        elif "/checkpoint/" in message.topic:
            self.checkpoints[kind] = content
            self._sent(unquote(kind), content)

    def _sent(self, name: str, checkpoint: dict[str, Any]) -> None:
        """Take from the checkpoint of the stream ``name`` what has to be here."""
        for source, stream in self.inbox.streams.items():
            if unquote(source.split("/", 4)[4]) == name:
                self.inbox.published(stream, checkpoint["epoch"], int(checkpoint["published_seq"]), time.monotonic())

    def _event(self, event: Event) -> None:
        for each in self.inbox.receive(event, time.monotonic()):
            self.books.apply(each)
            name = each["type"].removeprefix(PREFIX).removesuffix(".v1")
            self.ticker.append({"t": round(self.books.t(each["time"]), 2), "type": name, "data": _gist(name, each["data"])})
            if self.clock.started:
                recorded = self.books.t(each["recordedtime"])
                self.latencies.append(max(0.0, (self.clock.t() / SECOND - recorded) / self.clock.speed))

    def _telemetry(self, event: Event) -> None:
        for _ in self.inbox.receive(event, time.monotonic()):
            data = event["data"]
            columns, base = data["columns"], self.books.t(data["t0"])
            for index, offset, value, quality in zip(columns["tag"], columns["dt_us"], columns["value"], columns["q"], strict=True):
                self.books.readings.append((data["tags"][index]["tag"], base + offset / 1e6, value, quality))

    def _ask(self) -> None:
        """Ask the agent for the numbers that are missing."""
        if not self.clock.started:
            self._wait_for_start()
        if self._command is None or not self.connected:
            return
        for source, epoch, first, last in self.inbox.holes(time.monotonic()):
            stream = source.split("/", 4)[4]  # /enterprise/site/agent/stream
            body = {"stream": stream, "epoch": epoch, "from_seq": first, "to_seq": last}
            self._client.publish(self._command, json.dumps(body), qos=1)
            self.resends += 1

    def _confirm(self) -> None:
        """Retain up to where each stream is applied: the agent keeps what is behind that."""
        if not self.options.confirm or self._command is None or not self.connected:
            return
        for source, epoch, last in self.inbox.watermarks():
            if self._confirmed.get(source) != (epoch, last):
                self._confirmed[source] = epoch, last
                stream = quote(unquote(source.split("/", 4)[4]), safe="._- ~")
                topic = f"{self._command.removesuffix('cmd/resend')}confirmed/{stream}"
                self._client.publish(topic, json.dumps({"epoch": epoch, "seq": last}), qos=1, retain=True)

    def _wait_for_start(self) -> None:
        if self.options.clock is not None:
            self.clock = read_clock(self.options.clock, self.scenario)

    def _progress(self) -> dict[str, Any]:
        waits = sorted(self.latencies)
        order = next((o for o, (_, end) in reversed(self.books.orders.items()) if end is None), None)
        totals = {name: last - first for name, (first, last) in self.books.totals.items()}
        return {
            "t": self.clock.t() / SECOND,
            "connected": self.connected,
            "agent": self.status.get("status"),
            "ready": bool(self.status.get("ready")) and self.status.get("status") == "online",
            "session": self.status.get("session"),
            "devices": self.status.get("devices", {}),
            "state": self.books.states[-1][2] if self.books.states else None,
            "order": order,
            "totals": totals,
            "received": self.inbox.tally.received,
            "applied": self.inbox.tally.applied,
            "duplicates": self.inbox.tally.duplicates,
            "lost": self.inbox.missing(),
            "resends": self.resends,
            "gaps": len(self.books.gaps),
            "retried": self.inbox.tally.retried,
            "p50_ms": round(statistics.median(waits) * 1000, 1) if waits else None,
            "p95_ms": round(waits[int(len(waits) * 0.95)] * 1000, 1) if waits else None,
            "events": list(self.ticker),
        }

    def _report(self) -> int:
        """Write the comparison; return 0 when everything agrees."""
        report = self._check().report() | {"resends": self.resends, "garbled": self.garbled}
        if self.options.report is not None:
            self.options.report.write_text(json.dumps(report, indent=1), encoding="utf-8")
        else:
            print(json.dumps(report, indent=1))
        return 0 if report["ok"] else 1

    def _check(self) -> Reconciliation | PlantCheck:
        scenario, books = self.scenario, self.books
        given: dict[str, Any] = {"faults": self.options.faults, "speed": self.clock.speed, "ledgers": self.options.ledger}
        if isinstance(scenario, PlantScenario):
            assert isinstance(books, PlantBooks)  # noqa: S101 - made together with the scenario
            return PlantCheck(scenario, books, self.inbox, **given)
        return Reconciliation(scenario, truth(scenario), books, self.inbox, **given)


def _gist(name: str, data: dict[str, Any]) -> str:
    """Return the few words of an event that a person wants to see."""
    if name == "production.count":
        return f"{data['counter']} +{data['delta']} = {data['total']}"
    if name in {"state.changed", "mode.changed"}:
        return f"{data['from']['name']} -> {data['to']['name']}"
    if name.startswith("order."):
        return str(data["order"])
    if name.startswith("downtime."):
        return f"{data.get('category', '')} {data.get('duration_s', '')} {(data.get('reason') or {}).get('code', '')}".strip()
    if name == "collection.gap":
        return f"{data['reason']} lost={data['lost']} recovered={data.get('recovered')}"
    if name.startswith("alarm."):
        return f"{data['alarm_id']} {data.get('text') or ''}"
    return str(data.get("device") or data.get("counter") or data.get("meter") or data.get("shift_id") or data.get("verdict") or "")


def main() -> int:
    """Run the MOM side from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m simulators.mom", description="Consume an agent's events and compare them with the truth."
    )
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE")
    parser.add_argument("--broker", type=address, default="127.0.0.1:1883", metavar="HOST:PORT")
    parser.add_argument("--root", default="edge")
    parser.add_argument("--clock", type=Path, metavar="FILE")
    parser.add_argument("--speed", type=speed, default=1.0)
    parser.add_argument("--faults", action="store_true", help="the scenario's faults are injected: allow for the gaps they make")
    parser.add_argument("--report", type=Path, metavar="FILE", help="where the comparison is written (default: standard output)")
    parser.add_argument(
        "--confirm", action="store_true", help="retain the numbers that are applied, for an agent with buffer.confirm"
    )
    parser.add_argument(
        "--ledger", type=Path, action="append", default=[], metavar="FILE", help="ledgers of the simulators, checked for writes"
    )
    options = parser.parse_args()
    with refusals(parser, options):
        return Mom(options).run()


if __name__ == "__main__":
    sys.exit(main())
