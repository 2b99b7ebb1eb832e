"""The MOM side's watermarks: retained, on the topic that the agent reads, and only when they moved."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from simulators.mom import Mom

SCENARIO = min((Path(__file__).parents[2] / "simulators" / "scenarios").iterdir())
OPTIONS = {"scenario": SCENARIO, "clock": None, "speed": 1.0, "root": "edge", "broker": "127.0.0.1:1", "ledger": [], "report": None}


class Client:
    """Notes what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: str, qos: int = 0, retain: bool = False) -> None:
        """Note it."""
        assert (qos, retain) == (1, "/confirmed/" in topic)
        self.published.append((topic, json.loads(payload)))


def mom(*, confirm: bool) -> tuple[Mom, Client]:
    """Return a MOM side that is connected and knows its agent."""
    made, client = Mom(Namespace(**OPTIONS, confirm=confirm, faults=False)), Client()
    made._client, made.connected, made._command = client, True, "edge/v1/acme/plant1/_agent/gw1/cmd/resend"  # type: ignore[assignment]
    return made, client


def receive(made: Mom, stream: str, seq: int) -> None:
    """Take one event in."""
    event = {
        "id": f"E1-{stream}-{seq}", "source": f"/acme/plant1/gw1/{stream}", "type": "edgeagent.device.connected.v1", "sequence": f"{seq:020d}",
        "data": {"epoch": "E1", "seq": seq},
    }  # fmt: skip
    list(made.inbox.receive(event, 0.0))


@pytest.mark.parametrize("confirm", [True, False])
def test_what_is_applied_is_retained_once_per_move(confirm: bool) -> None:
    """Parked numbers are not confirmed; a name with a slash or a space is one level; without --confirm nothing is said."""
    made, client = mom(confirm=confirm)
    for stream, seq in (("filler", 1), ("filler", 2), ("filler", 4), ("filler/telemetry", 1), ("_agent/gw1", 1)):
        receive(made, stream, seq)
    made._confirm()
    made._confirm()
    receive(made, "filler", 3)
    made._confirm()
    base = "edge/v1/acme/plant1/_agent/gw1/confirmed"
    wanted = [
        (f"{base}/filler", {"epoch": "E1", "seq": 2}),
        (f"{base}/filler%2Ftelemetry", {"epoch": "E1", "seq": 1}),
        (f"{base}/_agent%2Fgw1", {"epoch": "E1", "seq": 1}),
        (f"{base}/filler", {"epoch": "E1", "seq": 4}),
    ]
    assert client.published == (wanted if confirm else [])


def test_a_checkpoint_that_is_ahead_makes_it_ask() -> None:
    """What the agent has sent and a broker has lost is asked for, of the stream that the checkpoint is of and of no other."""
    made, client = mom(confirm=False)
    for stream in ("cell", "cell/telemetry"):
        receive(made, stream, 1)
    topic = "edge/v1/acme/plant1/_agent/gw1/checkpoint/cell%2Ftelemetry"
    content = json.dumps({"stream": "cell/telemetry", "epoch": "E1", "published_seq": 3})
    made._handle(Namespace(topic=topic, payload=content.encode(), retain=True))  # type: ignore[arg-type]
    assert made.inbox.missing() == 2
    made.inbox.streams["/acme/plant1/gw1/cell/telemetry"].hole_since = 0.0
    made._ask()
    asked = {"stream": "cell/telemetry", "epoch": "E1", "from_seq": 2, "to_seq": 3}
    assert client.published == [("edge/v1/acme/plant1/_agent/gw1/cmd/resend", asked)]
