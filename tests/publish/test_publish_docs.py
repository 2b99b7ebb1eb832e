"""The examples of the how-to are configurations that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from edge_agent.publish.config import MqttConfig
from edge_agent.publish.memory import Counters

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "mqtt.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(mqtt:.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_an_example_of_the_how_to_loads(block):
    """Whoever copies it has a block that is valid."""
    assert MqttConfig.model_validate(YAML(typ="safe").load(block)["mqtt"]).brokers


def test_the_how_to_has_its_examples_and_names_every_count():
    """None was lost in editing, and what can be read off the agent is explained."""
    assert len(BLOCKS) == 5
    for name in (*vars(Counters()), "reconnects"):
        assert f"`{name}`" in TEXT.split("## Counts")[1]
