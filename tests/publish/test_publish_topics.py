"""Topics and streams as tables and properties."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publish_setting import STREAMS, TOPICS

from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.errors import ConfigError
from edge_agent.publish.topics import StreamInfo, Topics, level

FILLER = EquipmentPath(("acme", "plant1", "packaging", "line3", "filler"))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("made", "topic"),
    [
        (TOPICS.unit(FILLER), "edge/v1/acme/plant1/packaging/line3/filler"),
        (TOPICS.state(FILLER), "edge/v1/acme/plant1/packaging/line3/filler/_state"),
        (TOPICS.meta(FILLER), "edge/v1/acme/plant1/packaging/line3/filler/_meta"),
        (TOPICS.status, "edge/v1/acme/plant1/_agent/gw-l3/status"),
        (TOPICS.checkpoint("filler"), "edge/v1/acme/plant1/_agent/gw-l3/checkpoint/filler"),
        (TOPICS.checkpoint("filler/telemetry"), "edge/v1/acme/plant1/_agent/gw-l3/checkpoint/filler%2Ftelemetry"),
        (TOPICS.command("resend"), "edge/v1/acme/plant1/_agent/gw-l3/cmd/resend"),
        (Topics("umh/v1x", (), "a").status, "umh/v1x/v1/_agent/a/status"),
    ],
)
def test_topics_follow_the_table(made, topic):
    """Every kind of topic stands where the contract says."""
    assert made == topic


def test_streams_know_source_subject_and_partition():
    """Source is the stream's identity with the agent in it, subject the place in the plant."""
    assert STREAMS["filler"] == StreamInfo(
        "filler",
        "/acme/plant1/gw-l3/filler",
        "acme/plant1/packaging/line3/filler",
        "edge/v1/acme/plant1/packaging/line3/filler",
        "filler",
    )
    telemetry = STREAMS["filler/telemetry"]
    assert (telemetry.source, telemetry.partition) == ("/acme/plant1/gw-l3/filler/telemetry", "filler")
    assert telemetry.topic == STREAMS["filler"].topic
    agent = STREAMS["_agent/gw-l3"]
    assert (agent.source, agent.subject) == ("/acme/plant1/gw-l3/_agent/gw-l3", "acme/plant1/gw-l3")
    assert agent.topic == "edge/v1/acme/plant1/_agent/gw-l3"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [("line 3", "line 3"), ("a+b", "a%2Bb"), ("a/b", "a%2Fb"), ("#1", "%231"), ("$SYS", "%24SYS"), ("50%", "50%25"), ("a\0b", "a%00b"),
     ("Füller", "Füller"), ("\x1b[31m", "%1B[31m"), ("a\r\nb", "a%0D%0Ab")],
)  # fmt: skip
def test_a_level_is_made_safe(text, encoded):
    """Wildcards, separators, the broker's own prefix and control characters never reach a topic."""
    assert level(text) == encoded


@given(NAMES)
def test_no_name_can_break_out_of_its_level(text):
    """Any name becomes exactly one safe level, and different names stay different."""
    made = level(text)
    assert not set("+#/$\0") & set(made)
    assert made.isprintable()
    assert unquote(made) == text


@given(NAMES)
def test_no_unit_can_pose_as_the_agents_own_words(text):
    """A unit called ``_event`` or ``_agent`` does not share a topic with the real ones."""
    made = TOPICS.unit(FILLER.child(text)).rsplit("/", 1)[1]
    assert not made.startswith("_")
    assert unquote(made) == text


@pytest.mark.parametrize("path", [("acme", "", "filler"), ("x" * 600,)])
def test_blank_and_endless_levels_are_refused(path):
    """Missing levels are left out, never blank; a topic longer than 512 bytes names the remedy."""
    with pytest.raises(ConfigError, match=r"is empty|longer than 512.*shorten"):
        TOPICS.unit(EquipmentPath(path))


def test_the_longest_topic_is_exactly_512_bytes():
    """The limit counts bytes, not characters, and holds at the edge."""
    room = 512 - len("edge/v1/")
    assert len(TOPICS.unit(EquipmentPath(("x" * room,)))) == 512
    with pytest.raises(ConfigError, match="513"):
        TOPICS.unit(EquipmentPath(("x" * (room + 1),)))
    with pytest.raises(ConfigError, match="longer"):
        TOPICS.unit(EquipmentPath(("ü" * (room // 2 + 1),)))
