"""The planner: covers every tag, keeps limits, never splits a value, and never needs more requests than a greedy reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Limits, one_block, plan

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
            [("holding 0-2", (0, 2)), ("holding 1-4", (1,))],
            id="a long value that does not fit leaves the short one behind it inside",
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
def maps(draw: st.DrawFn) -> tuple[list[Field], Limits]:
    """Register maps and device limits."""
    limits = Limits(draw(st.integers(4, 125)), draw(st.integers(1, 200)), draw(st.integers(0, 20)))
    count = draw(st.integers(1, 40))
    fields = []
    for index in range(count):
        area = draw(st.sampled_from(["holding", "input", "coil"]))
        size = 1 if area == "coil" else draw(st.sampled_from([1, 1, 2, 4]))
        fields.append(
            Field(
                index=index, name=f"t{index}", area=area, address=draw(st.integers(0, 400)), size=size,
                period=draw(st.sampled_from([S, 5 * S])),
            )
        )  # fmt: skip
    return fields, limits


def greedy(fields: list[Field], limits: Limits) -> int:
    """The reference: tags in address order, a new request whenever the next does not fit or lies too far."""
    requests = 0
    groups: dict[tuple[str, int], list[Field]] = {}
    for field in fields:
        groups.setdefault((field.area, field.period), []).append(field)
    for (area, _), members in groups.items():
        start = end = -1
        for field in sorted(members, key=lambda field: (field.address, field.end)):
            if start < 0 or max(end, field.end) - start > limits.of(area) or field.address - end > limits.gap_of(area):
                requests, start, end = requests + 1, field.address, field.end
            end = max(end, field.end)
    return requests


@given(maps())
def test_plan_holds_its_promises(case: tuple[list[Field], Limits]) -> None:
    """Every tag in exactly one block, whole; no block above its limit or over a gap above the budget; at most greedy's requests."""
    fields, limits = case
    blocks = plan(fields, limits)
    assert sorted(field.index for block in blocks for field in block.fields) == list(range(len(fields)))
    for block in blocks:
        assert 1 <= block.count <= limits.of(block.area)
        assert all(block.address <= field.address and field.end <= block.address + block.count for field in block.fields)
        assert {(field.area, field.period) for field in block.fields} == {(block.area, block.period)}
        known = {a for f in fields if (f.area, f.period) == (block.area, block.period) for a in range(f.address, f.end)}
        run = longest = 0
        for address in range(block.address, block.address + block.count):
            run = 0 if address in known else run + 1
            longest = max(longest, run)
        assert longest <= limits.gap_of(block.area)
    assert len(blocks) <= greedy(fields, limits)


@given(maps(), st.integers(2, 5))
def test_groups_are_never_split(case: tuple[list[Field], Limits], size: int) -> None:
    """Tags that must be read together are in one block, whatever else is planned, or the plan is refused."""
    fields, limits = case
    group = [field for field in fields if (field.area, field.period) == (fields[0].area, fields[0].period)][:size]
    bound = [replace(field, together="t0") if field in group else field for field in fields]
    try:
        blocks = plan(bound, limits)
    except ValueError:
        assert max(f.end for f in group) - min(f.address for f in group) > limits.of(fields[0].area)
        return
    members = {field.index for field in group}
    assert any(members <= {field.index for field in block.fields} for block in blocks)
