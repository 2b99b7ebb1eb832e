"""The planner: covers every tag, keeps limits, never splits a value, and never needs more requests than a greedy reference."""

import itertools
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent.drivers.modbus.excluded import Span
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import FEWEST, Limits, one_block, plan

S = 1_000_000_000


def holding(index: int, address: int, size: int = 1, **more: object) -> Field:
    """Return a holding register field."""
    return Field(index=index, name=f"t{index}", area="holding", address=address, size=size, **more)


def shape(fields: list[Field], limits: Limits) -> list[tuple[str, tuple[int, ...]]]:
    """Return what the plan reads, and which tags by it."""
    return [(block.name, tuple(field.index for field in block.fields)) for block in plan(fields, limits)]


@pytest.mark.parametrize(
    ("fields", "limits", "expected"),
    [
        pytest.param([holding(0, 0), holding(1, 1, 2)], Limits(), [("holding 0-2", (0, 1))], id="neighbours share a request"),
        pytest.param(
            [holding(0, 0), holding(1, 2)], Limits(), [("holding 0-0", (0,)), ("holding 2-2", (1,))], id="no gap by default"
        ),
        pytest.param([holding(0, 0), holding(1, 2)], Limits(gap=1), [("holding 0-2", (0, 1))], id="a gap within the budget"),
        pytest.param(
            [holding(0, 0), holding(1, 3)], Limits(gap=1), [("holding 0-0", (0,)), ("holding 3-3", (1,))], id="a gap too wide"
        ),
        pytest.param(
            [holding(0, 0, 2), holding(1, 2, 2)],
            Limits(3),
            [("holding 0-1", (0,)), ("holding 2-3", (1,))],
            id="a value is not split",
        ),
        pytest.param(
            [holding(0, 0), holding(1, 1, 4), holding(2, 2)],
            Limits(4),
            [("holding 0-0", (0,)), ("holding 1-4", (1, 2))],
            id="a value inside a longer one comes with it",
        ),
        pytest.param(
            [holding(0, 0, together="t0"), holding(1, 90, together="t0")], Limits(), [("holding 0-90", (0, 1))], id="read together"
        ),
        pytest.param(
            [holding(0, 0), replace(holding(1, 1), period=2 * S)],
            Limits(),
            [("holding 0-0", (0,)), ("holding 1-1", (1,))],
            id="other period, other request",
        ),
        pytest.param(
            [holding(0, 0), replace(holding(1, 1), area="input")],
            Limits(),
            [("holding 0-0", (0,)), ("input 1-1", (1,))],
            id="other area, other request",
        ),
        pytest.param(
            [replace(holding(0, 0), area="coil"), replace(holding(1, 17), area="coil")],
            Limits(gap=1),
            [("coil 0-17", (0, 1))],
            id="sixteen bits of gap cost a register",
        ),
    ],
)
def test_blocks_of_typical_maps(fields: list[Field], limits: Limits, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    """Each typical register map gives exactly these requests."""
    assert shape(fields, limits) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            [holding(0, 0, together="t0"), holding(1, 130, together="t0")],
            "one request would need 131 registers, the device allows 125",
        ),
        ([holding(0, 0, together="t0"), replace(holding(1, 1), area="input", together="t0")], "only tags of one register area can"),
        ([holding(0, 0, together="t0"), holding(1, 1, together="t0", period=7)], "different poll periods"),
    ],
)
def test_what_cannot_be_read_together_is_said(fields: list[Field], words: str) -> None:
    """A group that no request can read is refused in words."""
    with pytest.raises(ValueError, match=words):
        plan(fields, Limits())


def test_a_trigger_group_is_one_block_in_its_own_order() -> None:
    """Fields of different periods and with gaps between them become one request, listed as the group lists them."""
    block = one_block([holding(4, 9), replace(holding(2, 3), period=5 * S)], Limits())
    assert (block.name, [field.index for field in block.fields]) == ("holding 3-9", [4, 2])


@st.composite
def maps(draw: st.DrawFn, most: int = 40, far: int = 400) -> tuple[list[Field], Limits]:
    """Register maps and device limits, with areas that must not be read where no tag lies."""
    fields = []
    for index in range(draw(st.integers(1, most))):
        area = draw(st.sampled_from(["holding", "input", "coil"]))
        size = 1 if area == "coil" else draw(st.sampled_from([1, 1, 2, 4]))
        fields.append(
            Field(
                index=index, name=f"t{index}", area=area, address=draw(st.integers(0, far)), size=size,
                period=draw(st.sampled_from([S, 5 * S])),
            )
        )  # fmt: skip
    spans = [
        Span(area, start, start + length)
        for area, start, length in draw(
            st.lists(st.tuples(st.sampled_from(["holding", "coil"]), st.integers(0, far), st.integers(1, 9)), max_size=4)
        )
    ]
    free = tuple(span for span in spans if not any(span.meets(field.area, field.address, field.end) for field in fields))
    request = draw(st.sampled_from([FEWEST, FEWEST, 40, 200]))
    limits = Limits(draw(st.integers(4, 125)), draw(st.integers(1, 200)), draw(st.integers(0, 20)), free, request=request)
    return fields, limits


def allowed(start: int, end: int, area: str, fields: list[Field], limits: Limits) -> bool:
    """Whether one request may read these addresses: the rules again, address by address."""
    if end - start > limits.of(area) or any(span.meets(area, start, end) for span in limits.excluded):
        return False
    named = {a for field in fields if field.area == area for a in range(field.address, field.end)}
    run = longest = 0
    for address in range(start, end):
        run = 0 if address in named else run + 1
        longest = max(longest, run)
    return longest <= limits.gap_of(area)


def grouped(fields: list[Field]) -> dict[tuple[str, int], list[Field]]:
    """Return what may share requests at all, ordered as greedy people read it."""
    groups: dict[tuple[str, int], list[Field]] = {}
    for field in sorted(fields, key=lambda field: (field.address, field.end)):
        groups.setdefault((field.area, field.period), []).append(field)
    return groups


def greedy(fields: list[Field], limits: Limits) -> int:
    """The reference: tags in address order, a new request whenever the next does not fit or lies too far."""
    requests = 0
    for (area, _), members in grouped(fields).items():
        start = end = -1
        for field in members:
            if start < 0 or not allowed(start, max(end, field.end), area, fields, limits):
                requests, start, end = requests + 1, field.address, field.end
            end = max(end, field.end)
    return requests


def costs(spans: Iterable[tuple[str, int, int]], limits: Limits) -> int:
    """Return what reading these spans costs, by the definition of `Limits`."""
    return sum(limits.request + (end - start) * (1 if area == "coil" else 16) for area, start, end in spans)


def cheapest(fields: list[Field], limits: Limits) -> int:
    """The least cost of all plans, by trying every set of spans that begin and end at some tag."""
    total = 0
    for (area, _), members in grouped(fields).items():
        edges = itertools.product(sorted({f.address for f in members}), sorted({f.end for f in members}))
        spans = [(start, end) for start, end in edges if start < end and allowed(start, end, area, fields, limits)]
        best: dict[frozenset[int], int] = {frozenset(): 0}
        for start, end in spans:
            inside = {f.index for f in members if start <= f.address and f.end <= end}
            price = costs([(area, start, end)], limits)
            for covered, cost in list(best.items()):
                both = covered | inside
                best[both] = min(cost + price, best.get(both, cost + price))
        total += best[frozenset(f.index for f in members)]
    return total


@settings(deadline=None)  # the machine may be busy
@given(maps())
def test_plan_holds_its_promises(case: tuple[list[Field], Limits]) -> None:
    """Every tag in exactly one block, whole; no block above its limit, over an excluded address or over a gap above the budget."""
    fields, limits = case
    blocks = plan(fields, limits)
    assert sorted(field.index for block in blocks for field in block.fields) == list(range(len(fields)))
    for block in blocks:
        assert block.count >= 1
        assert all(block.address <= field.address and field.end <= block.address + block.count for field in block.fields)
        assert {(field.area, field.period) for field in block.fields} == {(block.area, block.period)}
        assert allowed(block.address, block.address + block.count, block.area, fields, limits)


@settings(deadline=None)  # the machine may be busy
@given(maps())
def test_plan_needs_no_more_requests_than_a_greedy_one(case: tuple[list[Field], Limits]) -> None:
    """Taking tags from the left as long as they fit never needs fewer requests than the plan, and the gap rule changes nothing in that."""
    fields, limits = case
    assert len(plan(fields, limits._replace(request=FEWEST))) <= greedy(fields, limits)


@settings(deadline=None)  # the machine may be busy
@given(maps(most=7, far=25))
def test_plan_is_the_cheapest_there_is(case: tuple[list[Field], Limits]) -> None:
    """On small maps no set of allowed requests costs less, whatever a request costs; with the default none is smaller, and none of that size reads less."""
    fields, limits = case
    spans = [(block.area, block.address, block.address + block.count) for block in plan(fields, limits)]
    assert costs(spans, limits) == cheapest(fields, limits)


def test_a_dear_request_reads_over_what_a_cheap_one_leaves_out() -> None:
    """Where another request costs less than the registers of the gap, there are two requests; max_gap alone is only the permission."""
    fields, far = [holding(0, 0), holding(1, 30)], Limits(gap=124)
    assert [block.name for block in plan(fields, far)] == ["holding 0-30"]
    assert [block.name for block in plan(fields, far._replace(request=28 * 16))] == ["holding 0-0", "holding 30-30"]
    assert [block.name for block in plan(fields, far._replace(request=30 * 16))] == ["holding 0-30"]


def test_a_register_of_another_period_is_no_gap() -> None:
    """What any tag of the device names is known to be there, so it may be read over without permission."""
    fields = [holding(0, 0), holding(1, 1, period=5 * S), holding(2, 2)]
    assert [block.name for block in plan(fields, Limits())] == ["holding 0-2", "holding 1-1"]


def test_a_cut_is_kept() -> None:
    """No request goes over a place where the device was found to refuse it, also between values that overlap."""
    cut = Limits(cuts=frozenset({("holding", 4)}))
    assert [block.name for block in plan([holding(n, n) for n in range(8)], cut)] == ["holding 0-3", "holding 4-7"]
    assert [block.name for block in plan([holding(0, 3, 2), holding(1, 4, 2)], cut)] == ["holding 3-4", "holding 4-5"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            [holding(0, 99, 2)],
            "t0: it lies in holding 100-119, which exclude says must not be read; remove the tag, or correct exclude",
        ),
        (
            [holding(0, 99, together="t0"), holding(1, 120, together="t0")],
            "t0, t1: one request would read holding 100-119 between them",
        ),
    ],
)
def test_what_must_not_be_read_is_said(fields: list[Field], words: str) -> None:
    """A tag in an excluded area, and a group around one, are refused in words."""
    with pytest.raises(ValueError, match=words):
        plan(fields, Limits(excluded=(Span("holding", 100, 120),)))


def test_a_long_map_is_planned_at_once() -> None:
    """Ten thousand coils and ten thousand registers take no more than a moment: planning is linear."""
    fields = [replace(holding(n, 2 * n), area="coil") for n in range(10_000)] + [holding(10_000 + n, 3 * n) for n in range(10_000)]
    started = time.process_time()
    blocks = plan(fields, Limits(gap=2))
    assert time.process_time() - started < 5
    assert [len(blocks), sum(len(block.fields) for block in blocks)] == [10 + 239, 20_000]


@settings(deadline=None)  # the machine may be busy
@given(maps(), st.integers(2, 5))
def test_groups_are_never_split(case: tuple[list[Field], Limits], size: int) -> None:
    """Tags that must be read together are in one block, whatever else is planned, or the plan is refused."""
    fields, limits = case
    group = [field for field in fields if (field.area, field.period) == (fields[0].area, fields[0].period)][:size]
    bound = [replace(field, together="t0") if field in group else field for field in fields]
    try:
        blocks = plan(bound, limits)
    except ValueError:
        area, start, end = fields[0].area, min(field.address for field in group), max(field.end for field in group)
        assert end - start > limits.of(area) or any(span.meets(area, start, end) for span in limits.excluded)
        return
    members = {field.index for field in group}
    assert any(members <= {field.index for field in block.fields} for block in blocks)
