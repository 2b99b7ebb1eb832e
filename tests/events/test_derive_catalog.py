"""The catalogue: a unit's configuration becomes rules, inputs and wiring, and says everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from edge_agent.events.catalog import UnitConfig, fold_of, inputs, rules_of, wiring_of
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag

_CONFIG = Path(__file__).parents[2] / "config"


def _yaml(path: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(_CONFIG / path)
    return content


def _tags() -> dict[str, Tag]:
    tags = {}
    for device in ("plc1", "heater", "meter-main"):
        for name, one in _yaml(f"devices/{device}.yaml")["tags"].items():
            tag = Tag(
                device, name, one.get("type"), one.get("scale", 1.0), uom=one.get("uom"), acknowledge=one.get("acknowledge", False)
            )
            tags[tag.ref] = tag
    return tags


def _filler(**changes: Any) -> UnitConfig:
    return UnitConfig.model_validate(_yaml("units/filler.yaml") | changes)


def test_the_demo_unit_has_its_rules_in_the_order_of_their_phases():
    """Counts before context, context before state, state before downtime, gaps and the snapshot last."""
    rules = rules_of(_filler(), tags=_tags())
    assert [rule.phase for rule in rules] == sorted(rule.phase for rule in rules)
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)
    assert (
        names.index("counters.total")
        < names.index("context")
        < names.index("state")
        < names.index("downtime")
        < names.index("snapshot")
    )


def test_inputs_are_every_tag_the_unit_names():
    """Telemetry, record fields and the acknowledgement are among them; nothing that is no tag is."""
    named = inputs(_filler())
    assert named <= _tags().keys()
    assert {
        "heater.pv",
        "plc1.rec_weight",
        "plc1.rec_ack",
        "plc1.stop_id",
        "plc1.alarm3_message",
        "meter-main.power",
        "plc1.lot",
    } <= named


def test_wiring_names_groups_after_their_unit():
    """Two units may have a record of one name on one device; only the acknowledgement tag may be written."""
    (trigger,) = wiring_of(_filler())["plc1"].triggers
    assert trigger.name == "filler/checkweigher"
    assert wiring_of(_filler())["plc1"].acknowledge == {"rec_ack"}
    without = wiring_of(_filler(records={})).values()
    assert not any(wired.triggers or wired.acknowledge for wired in without)


def test_unknown_tags_are_told_all_at_once_with_what_was_meant():
    """Every wrong reference is one line with the nearest tag."""
    wrong = _filler(context={"order": "plc1.ordr"}, telemetry={"tags": ["heater.pvv", "nowhere"]})
    with pytest.raises(ConfigError) as caught:
        rules_of(wrong, tags=_tags())
    assert str(caught.value).splitlines() == [
        "unit filler: no device has a tag 'heater.pvv'; did you mean 'heater.pv'?",
        "unit filler: no device has a tag 'nowhere'; tags are named device.tag",
        "unit filler: no device has a tag 'plc1.ordr'; did you mean 'plc1.order'?",
    ]


def test_what_the_rules_refuse_is_told_all_at_once():
    """One broken part does not hide another."""
    tags = _tags()
    tags["plc1.rec_ack"] = Tag("plc1", "rec_ack")
    wrong = _filler(downtime={"when": "with_order"}, state=None)
    with pytest.raises(ConfigError) as caught:
        rules_of(wrong, tags=tags)
    first, second = str(caught.value).splitlines()
    assert "downtime: there is no state" in first
    assert "acknowledge: true" in second


@pytest.mark.parametrize(
    "changes", [{"unit": "a/b"}, {"unit": ""}, {"version": 2}, {"counter": {}}, {"path": ["a", "b+c"]}, {"reorder": 250}]
)
def test_a_wrong_unit_is_refused(changes: dict[str, Any]):
    """Names that no topic can hold, unknown keys and numbers without a unit are errors of the file."""
    with pytest.raises(ValidationError):
        _filler(**changes)


def test_a_fold_is_made_of_a_unit_and_its_devices():
    """The energy grid is a boundary, devices the unit does not use are left out, and the fold starts empty."""
    tags = _tags()
    devices = {device: tuple(tag for tag in tags.values() if tag.device == device) for device in ("plc1", "heater", "meter-main")}
    fold = fold_of(_filler(), devices={**devices, "other": (Tag("other", "x"),)})
    assert fold.next_boundary(1) == 60_000_000_000
    state, dropped = fold.start({})
    assert dropped == ()
    assert fold.stored(state).keys() >= {"counters.total", "state", "picture"}
