"""A refused block: the addresses at fault are found and named, everything else goes on being read, and the search costs little."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits, plan
from edge_agent.drivers.modbus.split import ASK_AGAIN, JOIN_AGAIN, PROBES, RETRIES, Split, units
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.model.reading import Batch

S = 1_000_000_000
LIMITS = Limits()


class Device:
    """Refuses what has a bad address, more than ``most`` registers, or lies on both sides of ``border``."""

    def __init__(self, bad: set[int], most: int = 125, border: int | None = None) -> None:
        self.bad, self.most, self.border = bad, most, border

    def answers(self, block: Block) -> bool:
        """Whether it answers a read of ``block``."""
        addresses = range(block.address, block.address + block.count)
        over = self.border is not None and addresses.start < self.border < addresses.stop
        return block.count <= self.most and not over and self.bad.isdisjoint(addresses)


def poll(split: Split, device: Device, now: int) -> tuple[list[Block], set[int], set[int]]:
    """Read once; returns what was asked, the tags with values, and those found to be bad."""
    asked, good, bad = [], set(), set()
    for block in split.questions(now):
        asked.append(block)
        indexes = {field.index for field in block.fields}
        if device.answers(block):
            split.answered(block)
            good |= indexes
        elif split.refused(block, f"{block.name}: refused", now):
            bad |= indexes
    return asked, good, bad


def settle(split: Split, device: Device, now: int = 0) -> tuple[int, set[int]]:
    """Poll until the search is over and the plan stands; returns how many requests were refused or searched, and the bad tags."""
    requests, bad = 0, set()
    for _ in range(1000):
        before = list(split.parts)
        asked, _, found = poll(split, device, now)
        bad |= found
        requests += len(asked)
        if split.parts == before and not split.searching:
            return requests - len(before), bad
    raise AssertionError("never settled")


def registers(count: int, step: int = 1, size: int = 1) -> list[Field]:
    """Return a map of ``count`` values of ``size`` registers, every ``step`` registers."""
    return [
        Field(
            index=n, name=f"t{n}", area="holding", address=n * step, size=size, type="uint16" if size == 1 else "uint32", period=S
        )
        for n in range(count)
    ]


def split_of(fields: list[Field], limits: Limits = LIMITS) -> Split:
    """Return the reading of a map that one block holds."""
    (block,) = plan(fields, limits)
    return Split(block, limits, fields)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 60), st.sampled_from([(1, 1), (2, 2), (2, 1)]), st.sets(st.integers(0, 119), max_size=6))
def test_the_bad_are_found_and_the_good_go_on(count: int, layout: tuple[int, int], bad: set[int]) -> None:
    """Exactly the values with a bad address are found bad, all others have values in every later cycle, and no request touches a bad value's address."""
    step, size = layout
    fields = registers(count, step, size)
    split, device = split_of(fields, Limits(gap=1)), Device(bad)
    _, found = settle(split, device)
    truly = {field.index for field in fields if not bad.isdisjoint(range(field.address, field.end))}
    assert found == truly
    assert {field.index for refused in split.bad for field in refused.block.fields} == truly
    asked, good, _ = poll(split, device, 1)
    assert good == {field.index for field in fields} - truly
    assert all(device.answers(block) for block in asked), "nothing is refused any more"
    assert split.whole is (not truly and all(device.answers(block) for block in [split.block]))


@settings(deadline=None)  # the machine may be busy
@given(st.integers(2, 125), st.sets(st.integers(0, 124), min_size=1, max_size=8))
def test_the_search_asks_little(count: int, bad: set[int]) -> None:
    """In a block of n values with d bad ones at most about 2 d log2 n requests are spent, and afterwards a cycle needs d more than before."""
    bad = {address for address in bad if address < count} or {0}
    searched = 0
    split = split_of(registers(count))
    while True:
        known = list(split.parts)
        asked, _, _ = poll(split, Device(bad), 0)
        searched += sum(not any(block is part for part in known) for block in asked)
        if not split.searching and all(Device(bad).answers(part) for part in split.parts):
            break
    assert searched <= 2 * len(bad) * math.ceil(math.log2(count)) + 1
    assert len(split.parts) <= len(bad) + 1


def test_a_poll_asks_a_bounded_number_more() -> None:
    """While it searches, a poll asks what is known to be good and at most eight more; a wholly wrong block is not asked bit by bit at once."""
    split, device = split_of(registers(125)), Device(set(range(125)))
    for _ in range(60):
        known = len(split.parts)
        asked, _, _ = poll(split, device, 0)
        assert len(asked) <= known + PROBES
    assert len(split.bad) == 125
    assert poll(split, device, 1)[0] == []


def test_bad_values_are_asked_for_again_rarely_and_in_turn() -> None:
    """Every half minute a few of the bad values are asked for again, each in its turn."""
    split, device = split_of(registers(6)), Device(set(range(6)))
    settle(split, device)
    first = [block.address for block in poll(split, device, ASK_AGAIN)[0]]
    assert poll(split, device, 2 * ASK_AGAIN - 1)[0] == []
    second = [block.address for block in poll(split, device, 2 * ASK_AGAIN)[0]]
    assert (first, second) == ([0, 1, 2, 3], [4, 5, 0, 1])
    assert len(first) == RETRIES


def test_a_mended_device_is_read_whole_again() -> None:
    """When a bad value answers, the others are asked for at once, and in the end the block is one request as planned."""
    split, device = split_of(registers(20)), Device({3, 7, 8, 9, 11, 15})
    settle(split, device)
    device.bad.clear()
    for turn in range(4):
        poll(split, device, ASK_AGAIN + turn)
    assert split.whole
    assert split.bad == []


def test_a_gap_that_is_not_there_is_gone_round() -> None:
    """Where the refused address is in a gap that no tag names, no value is bad: two requests take the place of one."""
    fields = [
        *registers(4),
        *(replace(field, index=field.index + 4, name="x", address=field.address + 10) for field in registers(4)),
    ]
    split = split_of(fields, Limits(gap=6))
    _, bad = settle(split, Device({6}))
    assert bad == set()
    assert [block.name for block in split.parts] == ["holding 0-3", "holding 10-13"]


def test_a_border_that_no_request_may_cross_is_found() -> None:
    """A device that does not answer over the border of two memories is read in two requests from there on, all values good."""
    split = split_of(registers(100))
    _, bad = settle(split, Device(set(), border=37))
    assert bad == set()
    assert [part.name for part in split.parts] == ["holding 0-36", "holding 37-99"]


def test_one_refusal_that_meant_nothing_is_forgotten() -> None:
    """A block that was refused once is read in parts for five minutes, is then tried over each border, and is one request again."""
    split = split_of(registers(100))
    split.refused(next(split.questions(0)), "only once", 0)
    settle(split, Device(set()))
    assert [part.name for part in split.parts] == ["holding 0-49", "holding 50-99"]
    before = [block.name for block in poll(split, Device(set()), JOIN_AGAIN - 1)[0]]
    assert before == ["holding 0-49", "holding 50-99"]
    assert [block.name for block in poll(split, Device(set()), JOIN_AGAIN)[0]][2:] == ["holding 0-99"]
    assert split.whole


def test_a_true_border_costs_one_request_in_five_minutes() -> None:
    """Borders that are still there are tried in turn, one every five minutes, and no value is bad for it."""
    split, device = split_of(registers(125)), Device(set(), most=32)
    settle(split, device)
    parts = list(split.parts)
    tried = []
    for minute in range(60):
        asked, good, bad = poll(split, device, minute * 60 * S)
        assert (len(good), bad, asked[:4]) == (125, set(), parts)
        tried += [(minute, block.address) for block in asked[4:]]
    assert [minute for minute, _ in tried] == list(range(5, 60, 5))
    assert len({address for _, address in tried}) == len(parts) - 1


def test_a_value_that_changed_while_parts_were_read_is_told_by_the_whole() -> None:
    """When the whole block is read again, its first answer is compared with what was reported, not with the last answer to the whole."""
    split = split_of(registers(2))
    watch = Watch(split.block, split)
    reported: dict[int, object] = {}

    def read(now: int, *words: int, refuse: bool = False) -> None:
        before = split.parts
        for block in split.questions(now):
            if refuse and block is split.block:
                split.refused(block, "no", now)
                continue
            split.answered(block)
            batch = Batch("dev", now)
            watch.answered(b"".join(word.to_bytes(2) for word in words[block.address :][: block.count]), batch, block=block)
            reported.update(zip(batch.tags, batch.values, strict=True))
        if split.parts is not before:
            watch.joined()

    read(0, 1, 7)
    read(S, 2, 7, refuse=True)
    assert reported == {0: 2, 1: 7}
    read(JOIN_AGAIN + S, 3, 7)
    assert split.whole
    read(JOIN_AGAIN + 2 * S, 1, 7)
    assert reported == {0: 1, 1: 7}


def test_an_answer_after_a_failure_is_reported_though_it_is_the_same() -> None:
    """A value that was bad for a poll is good again with the next answer, also when its bytes are those of the last good one."""
    watch = Watch(split_of(registers(2)).block)
    for step in range(3):
        batch = Batch("dev", step)
        if step == 1:
            watch.failed("refused", batch, watch.block.fields[:1])
        else:
            watch.answered(b"\0\1\0\2", batch)
        assert 0 in batch.tags
    assert batch.values[batch.tags.index(0)] == 1


def test_too_many_at_once_is_no_bad_address() -> None:
    """A device that answers fewer registers than configured is read in smaller requests; nothing is bad."""
    split = split_of(registers(125))
    _, bad = settle(split, Device(set(), most=32))
    assert (bad, len(split.parts)) == (set(), 4)


def test_values_that_belong_together_stay_together() -> None:
    """Bits of one register are one value to the search, and what must be read together is refused together."""
    bits = [Field(index=n, name=f"b{n}", area="holding", address=5, type="bool", bit=n) for n in range(8)]
    pair = [Field(index=8 + n, name=f"p{n}", area="holding", address=6 + 2 * n, together="p0") for n in range(2)]
    split = split_of([*bits, *pair])
    assert [len(unit.fields) for unit in units(split.block)] == [8, 2]
    requests, bad = settle(split, Device({8}))
    assert bad == {8, 9}
    assert requests <= 4


def test_a_lost_answer_changes_nothing() -> None:
    """A poll that is given up between question and answer leaves the search where it was."""
    split, device = split_of(registers(16)), Device({5})
    for turn in range(40):
        for number, block in enumerate(split.questions(0)):
            if number == turn % 3 + 1:
                break
            if device.answers(block):
                split.answered(block)
            else:
                split.refused(block, "no", 0)
    settle(split, device)
    assert [refused.block.address for refused in split.bad] == [5]
    assert [part.name for part in split.parts] == ["holding 0-4", "holding 6-15"]
