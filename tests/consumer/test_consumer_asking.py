"""A consumer asks until it has an answer: what nobody could hear was not asked, and who comes back is asked anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from edge_agent.consumer import consume
from edge_agent.consumer.consume import Consumer
from edge_agent.consumer.database import open_database
from edge_agent.consumer.link import Link, Message

AGENT = "edge/v1/acme/plant1/_agent/gw1"


class Wire:
    """A link that may be down, and notes what is published over it."""

    def __init__(self) -> None:
        self.connected, self.connection = True, 1
        self.asked: list[dict[str, Any]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None) -> None:
        """Note a question."""
        if topic == f"{AGENT}/cmd/resend":
            self.asked.append(json.loads(payload))


class Time:
    """Machine time by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return it."""
        return self.now

    def time_ns(self) -> int:
        """Return it as UTC."""
        return round(self.now * 1e9)


def test_a_question_that_nobody_heard_is_asked_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is killed and the broker dies right behind it: no question counts while there is no link; who is back is asked soon."""
    clock, wire = Time(), Wire()
    monkeypatch.setattr(consume, "time", clock)
    consumer = Consumer(
        open_database(f"sqlite:///{tmp_path / 'mes.db'}"),
        cast("Link", wire),
        "edge",
        patience=1.0,
        outbox=False,
        passed_on=lambda: None,
    )

    def hear(topic: str, **content: Any) -> None:
        consumer._turn(
            [Message(f"{AGENT}/{topic}", json.dumps(content).encode(), retained=True, mid=0, connection=wire.connection)]
        )

    def asked_until(until: float) -> list[float]:
        """Return the times at which it asked, looking twice a second."""
        times = []
        while clock.now < until:
            clock.now += 0.5
            wire.asked.clear()
            consumer._ask()
            times += [clock.now] * len(wire.asked)
        return times

    try:
        hear("status", status="online", session="S1")
        hear("checkpoint/press", epoch="E1", last_seq=2, published_seq=2, time="2026-01-01T00:00:00Z")
        assert asked_until(110.0) == [101.5, 103.5, 107.5]
        wire.connected = False
        hear("status", status="offline", session="S1")
        assert asked_until(160.0) == []
        wire.connected, wire.connection = True, 2
        assert asked_until(165.0) == [160.5, 162.5]
        hear("status", status="online", session="S2")
        assert asked_until(170.0) == [166.0, 168.0]
        assert consumer._stop is False
    finally:
        consumer._database.close()
