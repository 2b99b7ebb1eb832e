"""What a unit may tell besides counts, states and alarms: the part of its configuration for it, and how its rules are built.

The rules come in the order in which they are folded inside their phase: what hears counts stands behind the counters, what tells orders
behind the context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events import changeover, cycle, derived, material, operatorinput, order, parameter, scrap, speed, tool
from edge_agent.events.changeover import SetupConfig
from edge_agent.events.cycleconfig import CycleConfig
from edge_agent.events.derived import DeriveConfig
from edge_agent.events.follow import Neighbours
from edge_agent.events.material import MaterialConfig
from edge_agent.events.operatorinput import InputConfig
from edge_agent.events.orderconfig import OrdersConfig
from edge_agent.events.parameter import RecipeConfig, SetpointConfig
from edge_agent.events.rule import Rule
from edge_agent.events.scrap import ScrapConfig
from edge_agent.events.speed import SpeedConfig
from edge_agent.events.tool import ToolConfig
from edge_agent.model.reading import Tag
from edge_agent.ports import DeviceWiring

Rules = tuple[Rule[Any], ...]


class ProductionConfig(BaseModel):
    """The parts of a unit that tell how it produces; all of them explain counts, none is added to them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    derived: dict[str, DeriveConfig] = Field(default_factory=dict, description="tags calculated from others, named device.name")
    cycles: dict[str, CycleConfig] = Field(default_factory=dict, description="machine cycles")
    scrap: dict[str, ScrapConfig] = Field(default_factory=dict, description="why parts are rejected")
    orders: OrdersConfig | None = Field(default=None, description="the life of orders, beyond their number in context")
    setup: SetupConfig | None = Field(default=None, description="changeovers")
    materials: dict[str, MaterialConfig] = Field(default_factory=dict, description="lots that go in, and how much of them")
    recipe: RecipeConfig | None = Field(default=None, description="which recipe or program runs")
    setpoints: dict[str, SetpointConfig] = Field(default_factory=dict, description="parameters whose changes are kept")
    tools: dict[str, ToolConfig] = Field(default_factory=dict, description="tools and lifetimes")
    inputs: dict[str, InputConfig] = Field(default_factory=dict, description="what people enter at the machine")
    speed: SpeedConfig | None = Field(default=None, description="set, actual and design speed")


def parts(config: ProductionConfig, unit: str, tags: Mapping[str, Tag], near: Neighbours) -> Iterator[Callable[[], Rules]]:
    """Yield how each part is built, so that one that fails does not hide the others."""
    named: list[tuple[Callable[..., Rules], Mapping[str, Any]]] = [
        (partial(derived.build, counters=near.counters, others=derived.tags_of(config.derived, near.counters, {})), config.derived),
        (partial(scrap.build, near=near), config.scrap),
        (partial(material.build, near=near), config.materials),
        (partial(cycle.build, near=near), config.cycles),
        (parameter.build, config.setpoints),
        (tool.build, config.tools),
        (operatorinput.build, config.inputs),
    ]
    for build, entries in named:
        for name, entry in entries.items():
            yield partial(build, entry, unit=unit, name=name, tags=tags)
    if config.orders is not None:
        yield partial(order.build, config.orders, unit=unit, tags=tags, order=near.context.get("order"))
    if config.setup is not None:
        yield partial(changeover.build, config.setup, unit=unit, tags=tags, near=near)
    if config.recipe is not None:
        yield partial(parameter.build_recipe, config.recipe, unit=unit, tags=tags)
    if config.speed is not None:
        yield partial(speed.build, config.speed, unit=unit, tags=tags)


def wired(config: ProductionConfig, unit: str, counters: Mapping[str, str]) -> Iterator[tuple[str, DeviceWiring]]:
    """Yield the trigger groups that the parts ask of each device."""
    yield from derived.wired(config.derived, counters, unit)
    for name, one in config.cycles.items():
        found = cycle.trigger(one, name=name)
        if found is not None:
            device, group = found
            yield device, DeviceWiring((type(group)(f"{unit}/{group.name}", group.trigger, group.tags),))
