"""Plants: what their description makes, what their truth says of it, and that a comparison sees each kind of wrong book."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from simulators.inbox import Inbox
from simulators.plant.books import PlantBooks
from simulators.plant.check import PlantCheck
from simulators.plant.facts import Facts
from simulators.plant.mes import messages
from simulators.plant.schema import PlantScenario
from simulators.plant.tracks import Plant
from simulators.plant.truth import facts_of
from simulators.scenario import ScenarioError, load_any, load_scenario
from simulators.vocabulary import SECOND

SCENARIOS = Path(__file__).parents[2] / "simulators" / "scenarios"
PLANTS = ("packaging", "press", "bottling", "batch")


def plant(name: str) -> Plant:
    """Return a shipped plant."""
    scenario = load_any(SCENARIOS / f"{name}.yaml")
    assert isinstance(scenario, PlantScenario)
    return Plant(scenario)


def check(name: str, facts: Facts) -> list[str]:
    """Return the rows of kinds of facts that differ, of books that say ``facts``."""
    scenario = plant(name).scenario
    books = PlantBooks(scenario.epoch, facts=facts)
    rows = PlantCheck(scenario, books, Inbox(), faults=False, speed=1.0, ledgers=()).rows()
    return [row.what for row in rows if not row.ok]


@pytest.mark.parametrize("name", PLANTS)
def test_books_that_say_the_truth_differ_in_no_row(name: str) -> None:
    """The comparison of a truth with itself is right in every row, and has some."""
    assert check(name, facts_of(plant(name), 1.0)) == []


@pytest.mark.parametrize("name", PLANTS)
def test_each_sum_that_is_off_by_one_is_seen(name: str) -> None:
    """One part too many, one too few, and one on a key that never was differ each."""
    for kind in facts_of(plant(name), 1.0).sums:
        for change in (1, -1):
            wrong = facts_of(plant(name), 1.0)
            key = next(iter(wrong.sums[kind]))
            wrong.sums[kind][key] += change
            assert any(what.startswith(kind) for what in check(name, wrong)), (kind, change)
        invented = facts_of(plant(name), 1.0)
        invented.sums[kind]["never", "was", "there"] = 1
        assert any(what.startswith(kind) for what in check(name, invented)), kind


@pytest.mark.parametrize("name", PLANTS)
def test_what_did_not_happen_or_at_another_time_is_seen(name: str) -> None:
    """An event that is missing, doubled, swapped with its neighbour, or told five seconds late differs."""
    for kind, right in facts_of(plant(name), 1.0).lists.items():
        late = [right[0].__class__(right[0].t + 5, right[0].text), *right[1:]]
        for wrong in (right[1:], [right[0], *right], late, [*right[::-1]] if len(right) > 1 else []):
            facts = facts_of(plant(name), 1.0)
            facts.lists[kind] = wrong
            assert kind in check(name, facts), (kind, wrong)


def test_a_case_in_the_scan_of_an_order_change_belongs_to_the_order_before() -> None:
    """At t=140 and t=140.5 the order changes in the scan in which a case is counted: PO-504 has exactly one."""
    truth = facts_of(plant("packaging"), 1.0)
    assert truth.sums["total by order"]["PO-504",] == 1
    assert truth.sums["total by order"]["PO-506",] == 1
    assert sum(truth.sums["total by order"].values()) == 442 == sum(truth.sums["total by shift"].values())


def test_the_boundary_that_comes_twice_is_the_one_that_the_calendar_means() -> None:
    """With the first 02:58 the night begins at t=80; with the second one it does not begin within the scenario."""
    raw = YAML(typ="safe").load((SCENARIOS / "packaging.yaml").read_text(encoding="utf-8"))
    assert [one.t for one in facts_of(Plant(PlantScenario.model_validate(raw)), 1.0).lists["shifts"]] == [80.0]
    for shift in ("late", "night"):
        raw["shifts"][shift]["dst"] = "second"
    assert facts_of(Plant(PlantScenario.model_validate(raw)), 1.0).lists.get("shifts") is None


def test_a_slot_of_the_ring_shows_its_newest_unit_and_the_index_how_many_there_are() -> None:
    """After 13 strokes of four cavities 52 units are in 48 slots: slot 3 has number 52, slot 4 number 5."""
    press = plant("press")
    t = 56 * SECOND
    assert press.tags["plc1.ring"].at(t) == 52
    assert press.tags["plc1.ring3_serial"].at(t) == "HP26-000052"
    assert press.tags["plc1.ring4_serial"].at(t) == "HP26-000005"
    assert press.tags["plc1.ring4_cavity"].at(t) == "C1"


def test_a_scan_writes_the_slots_before_the_index_and_the_index_before_the_counters() -> None:
    """Who reads the index finds the slots filled, and who reads the counters finds the index."""
    tags = [change.tag for change in plant("press").changes("plc1", 8 * SECOND - 1, 8 * SECOND)]
    assert tags.index("plc1.ring0_serial") < tags.index("plc1.ring") < tags.index("plc1.strokes") < tags.index("plc1.parts")


def test_the_mes_says_all_members_in_one_message() -> None:
    """What nothing is made of is null, so that the agent's last word is not the old order."""
    said = messages(plant("bottling"))
    assert said[0] == (0, '{"order": null, "item": null, "lot": null}')
    assert said[1] == (4 * SECOND, '{"order": "BO-310", "item": "LAGER-05", "lot": "T12"}')
    assert said[-1][1] == said[0][1]


def test_genealogy_links_each_dose_to_lot_order_and_batch() -> None:
    """The dose in the scan in which flour changes its lot came from the lot before; sums are doses times kilograms."""
    links = facts_of(plant("batch"), 1.0).sums["genealogy"]
    assert links["flour", "F-100", "BA-41", "D-0615-1"] == 19 * 5
    assert links["flour", "F-101", "BA-41", "D-0615-1"] == 21 * 5
    assert sum(amount for key, amount in links.items() if key[0] == "flour") == 121 * 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tag: plc1.parts,", "tag: plc1.nowhere,", "counters.parts: no device has the tag plc1.nowhere"),
        ("[90, PR-78]", "[30, PR-78]", "context.order.steps[1]: lies in a fault"),
        ("[70, faulted]", "[70, asleep]", "'asleep' is not among states.shows"),
        ("cycle: strokes", "cycle: blows", "cycle: 'blows' is no counter"),
        ("first: 84,", "first: 60,", "strokes: must go forward in time"),
        ("size: 48\n  cavities", "size: 1\n  cavities", "ring.size"),
    ],
)
def test_what_cannot_be_played_is_told_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A mistake in a plant scenario names file, line and place."""
    file = tmp_path / "press.yaml"
    text = (SCENARIOS / "press.yaml").read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"press\.yaml:\d+: ") as told:
        load_any(file)
    assert said in str(told.value)


def test_the_programs_of_the_demo_line_refuse_a_plant() -> None:
    """A plant is no scenario for the filler's PLC, and is told so instead of failing."""
    with pytest.raises(ScenarioError, match="version 1"):
        load_scenario(SCENARIOS / "press.yaml")
