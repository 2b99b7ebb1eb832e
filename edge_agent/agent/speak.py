"""What an output of Sparkplug speaks with: the feed of the units' mirrors, and its way to the broker. Imported where there is such an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from edge_agent.agent.build import Parts
from edge_agent.agent.edgenode import NodeFeed
from edge_agent.agent.mirror import UnitMirror
from edge_agent.agent.unit import Unit
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog as drivers
from edge_agent.events.catalog import UnitConfig, inputs
from edge_agent.model.reading import Tag
from edge_agent.ports import ArchiveBuffer, PlantClock
from edge_agent.publish.sparkplug.config import SparkplugConfig
from edge_agent.publish.sparkplug.connect import Ways, connect
from edge_agent.publish.sparkplug.mapping import Register, Shape
from edge_agent.publish.sparkplug.names import Node
from edge_agent.publish.sparkplug.node import EdgeNode


def feed_of(
    name: str, output: SparkplugConfig, config: AgentConfig, parts: Parts, buffer: ArchiveBuffer, clock: PlantClock
) -> NodeFeed:
    """Return what output ``name`` tells of the present units; `NodeFeed.load` comes next."""
    return NodeFeed(buffer, clock, _mirrors(config, parts), owner=f"_output/{name}", cfg=config.fingerprint, backlog=output.backlog)


def way_of(output: SparkplugConfig, node: Node, feed: NodeFeed) -> Callable[[], AbstractAsyncContextManager[EdgeNode]]:
    """Return what opens a connection to the output's broker, whichever of them answers."""
    return partial(connect, output, node, feed, Ways(output), feed.next_bdseq)


def _mirrors(config: AgentConfig, parts: Parts) -> Sequence[UnitMirror]:
    tags = {tag.ref: tag for device in config.devices for tag in drivers.tags_of(device)}
    states = {name: state for collector in parts.collectors for name, state in collector.devices.items()}
    return [
        _mirror(each, unit, tags, lambda device: bool(states[device].up), config.agent.events.type_prefix)
        for each, unit in zip(config.units, parts.units, strict=True)
    ]


def _mirror(config: UnitConfig, unit: Unit, tags: dict[str, Tag], up: Any, prefix: str) -> UnitMirror:
    counters, meters, names = {}, {}, {}
    for name, counter in config.counters.items():
        tag = tags[counter.tag]
        counters[name] = Register(counter.uom, tag.scale, tag.device)
    for meter in config.energy.values():
        tag = tags[meter.tag]
        names[meter.label] = meter.label
        meters[meter.label] = Register(meter.uom or tag.uom or "KWH", tag.scale, tag.device)
    devices = {ref.partition(".")[0] for ref in inputs(config)}
    return UnitMirror(unit, Shape(counters, meters), devices, up, names, prefix)
