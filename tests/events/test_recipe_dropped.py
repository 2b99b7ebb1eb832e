"""A recipe rule that is gone leaves no recipe in the context."""

from __future__ import annotations

from edge_agent.events.rule import Picture
from edge_agent.events.stored import without
from edge_agent.model.event import Context


def test_a_recipe_that_is_no_longer_read_is_no_longer_stamped() -> None:
    """The picture outlives a change of the configuration; what nobody keeps true any more is taken out, the rest stays."""
    picture = Picture(context=Context(order="WO-1", product="A", recipe="R1"))
    assert without(picture, ("recipe",)).context == Context(order="WO-1", product="A")
    assert without(picture, ("recipe", "context")).context == Context()
    assert without(picture, ("context",)).context.recipe == "R1"
