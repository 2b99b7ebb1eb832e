"""The consumer's view of the topics is the agent's, without a line in common; and acknowledgements keep to their connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.consumer import topics
from edge_agent.consumer.link import Broker, Link, Message
from edge_agent.model.equipment import EquipmentPath
from edge_agent.publish.topics import Topics

LEVEL = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=12).filter(
    lambda text: not text.startswith("_")
)


@given(site=st.lists(LEVEL, min_size=1, max_size=3), agent=LEVEL, unit=LEVEL, root=st.sampled_from(["edge", "a/b"]))
def test_sources_subjects_and_marks_are_those_of_the_agent(site: list[str], agent: str, unit: str, root: str) -> None:
    """From the topics alone the consumer finds the source and subject that stand in the events, and where to confirm."""
    said = Topics(root, tuple(site), agent)
    path = EquipmentPath((*site, unit))
    for stream in (said.unit_stream(unit, path), said.agent_stream(f"_agent/{agent}")):
        prefix = topics.prefix(said.base, root)
        assert topics.source(prefix, stream.name) == stream.source
        assert topics.stream(stream.source, prefix) == stream.name
        assert topics.confirmed(said.base, stream.name) == said.confirmed(stream.name)
        place = topics.place(said.checkpoint(stream.name))
        assert place == topics.Place("checkpoint", said.base, stream.name)
    assert topics.subject(said.unit(path), root) == str(path)


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("edge/v1/acme/plant1/filler/_event", "event"),
        ("edge/v1/acme/plant1/filler/_event/production/count", "event"),
        ("edge/v1/acme/plant1/_agent/gw/_event", "event"),
        ("edge/v1/acme/plant1/filler/_meta", "meta"),
        ("edge/v1/acme/plant1/_agent/gw/status", "status"),
        ("edge/v1/acme/plant1/_agent/gw/checkpoint/_agent%2Fgw", "checkpoint"),
        ("edge/v1/acme/plant1/filler/_telemetry", None),
        ("edge/v1/acme/plant1/filler/_events", None),
        ("edge/v1/acme/status", None),
    ],
)
def test_a_topic_is_known_by_its_end(topic: str, kind: str | None) -> None:
    """What says nothing to a consumer is nothing."""
    place = topics.place(topic)
    assert (place.kind if place else None) == kind


class Client:
    """Notes what is acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def ack(self, mid: int, _: int) -> None:
        """Note one."""
        self.acknowledged.append(mid)


def test_a_message_of_a_connection_that_is_gone_is_not_acknowledged() -> None:
    """Its number may by now mean another message, which would be lost."""
    link, client = Link(Broker("127.0.0.1", 1, "c"), [], "r"), Client()
    link._client = client  # type: ignore[assignment]
    link.connection, link.connected = 2, True
    old, new, free = (Message("t", b"", False, mid, connection) for mid, connection in ((7, 1), (8, 2), (0, 2)))
    link.acknowledge([old, new, free])
    link.connected = False
    link.acknowledge([new])
    assert client.acknowledged == [8]
