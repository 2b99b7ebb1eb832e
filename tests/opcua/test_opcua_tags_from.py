"""Parts of the server's tree: found by pattern on each connect, compared with the tags that are declared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import structlog
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary
from opcua_plant import Plc, config, free_port, reading

from edge_agent.agent.journal import Journal
from edge_agent.drivers.opcua.config import TagsFrom
from edge_agent.drivers.opcua.expand import expand
from edge_agent.drivers.opcua.glob import Pattern
from edge_agent.drivers.opcua.references import HIERARCHY, Reference, browse_response, references
from edge_agent.drivers.opcua.variant import DecodeError
from edge_agent.drivers.opcua.walk import Limits, walk
from edge_agent.model.reading import TagStatus, Undeclared

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    """Line1 with two motors of two variables, and a loop: the second motor also contains the line."""
    plc = Plc(free_port())
    await plc.start()
    line = await plc.server.nodes.objects.add_object(ua.NodeId("Line1", plc.index), f"{plc.index}:Line1")
    for number in (1, 2):
        motor = await line.add_object(ua.NodeId(f"M{number}", plc.index), f"{plc.index}:Motor{number}")
        for name in ("Speed", "Temp"):
            node = await motor.add_variable(ua.NodeId(f"M{number}.{name}", plc.index), f"{plc.index}:{name}", 1.5)
            await node.add_property(plc.index, "Unit", "rpm")
            plc.nodes[f"M{number}.{name}"] = node
    await motor.add_reference(line, ua.ObjectIds.Organizes)
    yield plc
    await plc.stop()


async def session_of(plc: Plc) -> Any:
    """Return a reader's session; the reader stays open with the fixture that called this."""
    return reading(config(plc.port, {"a": {"node": "s=M1.Speed"}}))


async def found(plc: Plc, **rule: Any) -> dict[str, str]:
    """Return the names that a rule gives, with their paths."""
    async with await session_of(plc) as reader:
        wanted, _ = await expand(reader.driver._session, TagsFrom.model_validate(rule))
        return {one.name: "/".join(one.found.path) for one in wanted}


async def test_a_subtree_gives_its_variables_once(plc: Plc) -> None:
    """Every variable below, on the shortest way, without properties; a loop in the tree ends."""
    assert await found(plc, browse="Line1/**") == {
        "Line1_Motor1_Speed": "Line1/Motor1/Speed",
        "Line1_Motor1_Temp": "Line1/Motor1/Temp",
        "Line1_Motor2_Speed": "Line1/Motor2/Speed",
        "Line1_Motor2_Temp": "Line1/Motor2/Temp",
    }


async def test_include_exclude_and_names(plc: Plc) -> None:
    """Paths are chosen by patterns, and tags named by their leaves where that is asked for."""
    only = await found(plc, browse="**", include=["Speed"], exclude=["Line1/Motor1/**"], names="leaf", prefix="m2_")
    assert only == {"m2_Speed": "Line1/Motor2/Speed"}


async def test_limits_are_kept_and_told(plc: Plc) -> None:
    """Depth and number end a walk, which says that it is not everything."""
    async with await session_of(plc) as reader:
        session = reader.driver._session
        deep = await walk(session, Pattern("Line1/**"), Limits(1, 100))
        assert (deep.found, deep.cut) == ([], "there is more below 1 levels")
        few = await walk(session, Pattern("Line1/**"), Limits(10, 3))
        assert (len(few.found), few.cut) == (3, "more than 3 variables")


async def test_what_is_not_declared_is_told_and_not_read(plc: Plc) -> None:
    """Each connect compares: a variable that nobody declared is named in a notice, one that vanished is a tag that is lost."""
    tags = {"speed": {"path": "Line1/Motor1/Speed"}, "gone": {"path": "Line1/Motor1/Old"}}
    rule = {"browse": "Line1/**", "exclude": ["Line1/Motor2/**"]}
    async with reading(config(plc.port, tags, tags_from=rule)) as reader:
        await reader.until(lambda r: r.notices(Undeclared) and r.notices(TagStatus))
        (notice,) = reader.notices(Undeclared)
        assert (notice.paths, notice.count) == (("Line1/Motor1/Temp",), 1)
        assert [status.name for status in reader.notices(TagStatus)] == ["gone"]
        assert {row[0] for row in reader.rows()} == {"speed", "gone"}


async def test_the_journal_tells_undeclared_tags_once() -> None:
    """The same finding after every reconnect is one event; that nothing is missing any more is another, and at first none."""
    journal = Journal.__new__(Journal)
    journal._meant = {}
    missing = Undeclared("plc", 1, ("a/b",), 1, "1 variable")
    none = Undeclared("plc", 2, (), 0, "")
    told = [journal._undeclared(notice) for notice in (none, missing, missing, none)]
    assert [event.data["action"] if event else None for event in told] == [None, "raised", None, "cleared"]


class Paging:
    """A server's browse in pages of three references, with one continuation point at a time."""

    def __init__(self, session: Any) -> None:
        self._request = session.request
        self._rest: list[ua.ReferenceDescription] = []
        self.calls: list[str] = []

    def _page(self, found: list[ua.ReferenceDescription], status: ua.StatusCode) -> ua.BrowseResult:
        result, rest = ua.BrowseResult(), found[3:]
        result.StatusCode = status
        if rest and self._rest:
            result.StatusCode = ua.StatusCode(ua.StatusCodes.BadNoContinuationPoints)
            return result
        result.References = found[:3]
        self._rest, result.ContinuationPoint = rest or self._rest, b"more" if rest else None
        return result

    async def request(self, request: Any, what: str, *, batch: bool = False) -> bytes:
        """Answer browse requests page by page; anything else is the server's."""
        if isinstance(request, ua.BrowseNextRequest):
            self.calls.append("next")
            rest, self._rest = self._rest, []
            return struct_to_binary(
                ua.BrowseNextResponse(Parameters=ua.BrowseNextResult(Results=[self._page(rest, ua.StatusCode(0))]))
            )
        body = await self._request(request, what, batch=batch)
        if not isinstance(request, ua.BrowseRequest):
            return bytes(body)
        self.calls.append(f"browse {len(request.Parameters.NodesToBrowse)}")
        results = struct_from_binary(ua.BrowseResponse, Buffer(body)).Results
        return struct_to_binary(ua.BrowseResponse(Results=[self._page(list(one.References), one.StatusCode) for one in results]))


async def test_pages_are_read_to_their_end(plc: Plc, monkeypatch: pytest.MonkeyPatch) -> None:
    """Continuation points are followed, and nodes that got none are asked again."""
    many = await plc.server.nodes.objects.add_object(ua.NodeId("Many", plc.index), f"{plc.index}:Many")
    more = await plc.server.nodes.objects.add_object(ua.NodeId("More", plc.index), f"{plc.index}:More")
    for number in range(8):
        await many.add_variable(ua.NodeId(f"many{number}", plc.index), f"{plc.index}:v{number}", number)
        await more.add_variable(ua.NodeId(f"more{number}", plc.index), f"{plc.index}:w{number}", number)
    async with await session_of(plc) as reader:
        session = reader.driver._session
        paging = Paging(session)
        monkeypatch.setattr(session, "request", paging.request)
        lists = await references(session, [many.nodeid, more.nodeid, ua.NodeId("None", plc.index)], HIERARCHY)
    assert [len(ways) if isinstance(ways, list) else ways for ways in lists] == [8, 8, "BadNodeIdInvalid"]
    assert {way.name for way in lists[1]} == {f"w{number}" for number in range(8)}
    assert paging.calls == ["browse 3", "next", "next", "browse 1", "next", "next"]


async def test_the_profile_is_chosen_and_told(plc: Plc) -> None:
    """The server's BuildInfo chooses; a device may say otherwise; batches are at most the profile's."""
    with structlog.testing.capture_logs():
        async with await session_of(plc) as reader:
            assert reader.driver._session.profile_name == "generic"
        async with reading(config(plc.port, {"a": {"node": "s=M1.Speed"}}, profile="s7-1200")) as reader:
            session = reader.driver._session
            assert (session.profile_name, session._read_size, session.profile.serial) == ("s7-1200", 100, True)


async def test_browse_responses_decode_as_asyncua_encodes_them() -> None:
    """Every member of a reference, bad results and continuation points; a body that ends anywhere before its end is refused."""
    way = ua.ReferenceDescription(
        ReferenceTypeId=ua.NodeId(47), IsForward=True, NodeId=ua.ExpandedNodeId("a;b", 3, NamespaceUri="urn:x", ServerIndex=2),
        BrowseName=ua.QualifiedName("2:name", 4), DisplayName=ua.LocalizedText("shown", "en"),
        TypeDefinition=ua.ExpandedNodeId(63),
    )  # fmt: skip
    way.NodeClass = ua.NodeClass.Variable
    results = [ua.BrowseResult(ContinuationPoint=b"p", References=[way, way]), ua.BrowseResult()]
    results[1].StatusCode = ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
    body = struct_to_binary(ua.BrowseResponse(Results=results))
    status, decoded = browse_response(body, "i=530")
    reference = Reference("i=47", "svr=2;nsu=urn:x;s=a;b", 4, "2:name", 2, "i=63")
    assert (status, decoded[0]) == (0, (0, b"p", [reference, reference]))
    assert decoded[1][0] == ua.StatusCodes.BadNodeIdUnknown
    for end in range(len(body) - 4):  # the last four bytes are the diagnostics, which nobody reads
        with pytest.raises(DecodeError):
            browse_response(body[:end], "i=530")
