"""State tables are data: what every shipped code means, and that nothing is guessed."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from edge_agent.events.state import StateConfig
from edge_agent.events.tables import SHIPPED, UserTable, code_of, load

PACKML = {
    0: "unknown", 1: "stopping", 2: "stopped", 3: "starting", 4: "idle", 5: "suspended", 6: "running", 7: "stopping", 8: "stopping",
    9: "faulted", 10: "stopping", 11: "held", 12: "starting", 13: "stopping", 14: "starting", 15: "starting", 16: "stopping", 17: "idle",
}  # fmt: skip


@pytest.mark.parametrize(("code", "category"), PACKML.items())
def test_packml_codes_have_the_category_of_the_page(code: int, category: str) -> None:
    """Every PackML number has its category."""
    assert load("packml").state(code).category == category


@pytest.mark.parametrize("model", SHIPPED)
def test_every_transition_names_a_state_of_its_table(model: str) -> None:
    """A transition to a name that is misspelt would mark every legal way as skipped."""
    table = load(model)
    names = {state.name for state in table.codes.values()}
    assert {name for after in table.next.values() for name in after} | table.next.keys() <= names
    assert table.model == model


@pytest.mark.parametrize(
    ("before", "after", "skips"),
    [
        (6, 8, False),
        (6, 2, True),
        (6, 16, False),
        (4, 6, True),
        (9, 1, False),
        (9, 2, True),
        (5, 10, False),
        (6, 42, False),
        (42, 6, False),
    ],
)
def test_a_jump_that_the_model_does_not_allow_is_seen(before: int, after: int, skips: bool) -> None:
    """Execute to Stopped passes Stopping unseen; with an unknown code nothing is claimed."""
    assert load("packml").skips(before, after) is skips


def test_a_code_that_no_table_knows_keeps_its_number() -> None:
    """Nothing is guessed: 42 is 'code 42' and unknown."""
    state = load("packml").state(42)
    assert (state.code, state.name, state.category, state.cause) == (42, "code 42", "unknown", None)


def test_names_match_without_regard_to_case() -> None:
    """MTConnect and Machinery give names instead of numbers."""
    assert load("mtconnect").state("active").category == "running"
    assert load("machinery").state("OutOfService").category == "faulted"
    assert load("tmc").state(4).category == "running"
    assert load("weihenstephan").state(128).category == "running"
    assert load("weihenstephan").state(136).category == "unknown"


def test_a_users_table_goes_over_its_base() -> None:
    """Rows of the user's own replace rows of the base; the rest of the base holds."""
    table = load(
        UserTable.model_validate(
            {"base": "packml", "name": "wrapper", "table": {42: {"name": "Jog", "category": "running"}, 4: "held"}}
        )
    )
    assert (table.model, table.state(42).category, table.state(4).category, table.state(6).name) == (
        "wrapper",
        "running",
        "held",
        "Execute",
    )
    assert table.state(4).cause == "held"


def test_an_inline_table_is_accepted_where_a_model_stands() -> None:
    """``model: {table: ...}`` is the user's own model named custom."""
    config = StateConfig.model_validate(
        {"tag": "plc.state", "model": {"table": {0: "stopped", 1: "running", "x": {"category": "held"}}}}
    )
    table = load(config.model)
    assert (table.model, table.state(1).category, table.state("x").name) == ("custom", "running", "x")


def test_a_category_that_does_not_exist_is_refused() -> None:
    """A misspelt category is a mistake of the file, not an unknown state."""
    with pytest.raises(ValidationError, match="category"):
        TypeAdapter(UserTable).validate_python({"table": {1: "runing"}})


def test_a_model_that_is_not_shipped_is_refused_with_the_list() -> None:
    """The text says which models there are."""
    with pytest.raises(ValueError, match="'packlm' is not known; one of packml, machinery"):
        load("packlm")


@pytest.mark.parametrize(
    ("value", "code"), [(6, 6), (6.0, 6), (6.5, None), (True, 1), ("ACTIVE", "ACTIVE"), ("", None), (None, None), (b"x", None)]
)
def test_only_whole_numbers_and_texts_are_codes(value: object, code: object) -> None:
    """A scaled integer is still a code; half a number is none."""
    assert code_of(value) == code  # type: ignore[arg-type]
