"""Addresses against node-opcua's server: index ranges, matrices, structures, enumerations, and a tree that comes in pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from interop_server import NEEDS, WallClock, free_port, running

from edge_agent.drivers.opcua.browse import survey
from edge_agent.drivers.opcua.config import OpcUaConfig, TagsFrom
from edge_agent.drivers.opcua.driver import connect

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    *NEEDS,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """Run the server as a process."""
    number = free_port()
    async with running("addressing.js", tmp_path_factory.mktemp("home"), number):
        yield number


def device(port: int, tags: dict[str, Any], **more: Any) -> OpcUaConfig:
    """Return a device of the server."""
    return OpcUaConfig.model_validate({
        "version": 1, "device": "stranger", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", "allow_insecure": True,
        "namespace": "urn:edge-agent:interop", "tags": tags, **more,
    })  # fmt: skip


async def test_parts_of_values(port: int) -> None:
    """The server cuts arrays itself and is asked for the parts; structures of its own types are decoded by its definitions."""
    wanted: dict[str, tuple[dict[str, Any], object]] = {
        "element": ({"node": "s=Array", "index": 3, "type": "int32"}, 13),
        "range": ({"node": "s=Array", "range": "2:4"}, (12, 13, 14)),
        "beyond": ({"node": "s=Array", "range": "4:9"}, (14, 15)),
        "cell": ({"node": "s=Matrix", "index": "1,2"}, 6),
        "column": ({"node": "s=Matrix", "range": "0:1,1"}, ((2,), (5,))),
        "product": ({"node": "ns=0;i=2256", "field": "BuildInfo.ProductName"}, "SimulationServer"),
        "state": ({"node": "ns=0;i=2256", "field": "State"}, 0),
        "path": ({"path": "Objects/Line/Mode"}, 5),
    }
    config = device(port, {name: tag for name, (tag, _) in wanted.items()} | {"outside": {"node": "s=Array", "index": 9}})
    async with asyncio.timeout(30), connect([config], WallClock(), {}) as driver:
        (first, *_) = await driver.read()
        assert dict(zip(wanted, first.values, strict=False)) == {name: value for name, (_, value) in wanted.items()}
        assert first.quality == [0] * len(wanted) + [2]
        assert first.details == {len(wanted): "element 9 is outside: the array has 6 elements"}
        cut = {item.tag.name: item.index_range for item in driver._devices["stranger"].items if item.index_range}
        assert cut == {"element": "3", "range": "2:4", "beyond": "4:9", "cell": "1,2", "column": "0:1,1"}


async def test_the_whole_tree_in_pages(port: int) -> None:
    """A folder of 2,500 in pages of at most 1,000, 20 nodes in a request: every variable is found once, with its type, value and names."""
    config = device(port, {"unused": {"node": "s=Mode"}})
    found = await survey(config, [TagsFrom(browse="**")], WallClock(), lambda _: None, declared=False)  # type: ignore[call-arg]
    by_name = {one.name: one for one in found.candidates}
    assert len(found.candidates) == len(by_name) == 2504
    assert (found.profile, found.cut) == ("prosys", ())
    assert all(by_name[f"Big_V{number}"].shown == str(number) for number in range(2500))
    assert by_name["Line_Mode"].names == ((0, "Off"), (5, "Auto"))
    assert (by_name["Line_Light"].names, by_name["Line_Light"].shown) == (((0, "Red"), (1, "Green")), "1 (Green)")
    assert by_name["Line_Array"].node == "nsu=urn:edge-agent:interop;s=Array"
