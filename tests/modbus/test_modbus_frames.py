"""The judgement of replies and the read-only guard, without a network."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.modbus import frames, guard
from edge_agent.drivers.modbus.frames import InvalidReplyError, Request

ASKED = Request(transaction=7, unit=2, function=3, size=4)
RIGHT = bytes.fromhex("0007 0000 0007 02 03 04 0001 0002")
REFUSAL = bytes.fromhex("0007 0000 0003 02 83 02")


@pytest.mark.parametrize("right", [RIGHT, REFUSAL])
def test_the_answer_is_accepted_whole_and_not_before(right: bytes) -> None:
    """Every prefix of the right answer means "wait", the whole means "yes"."""
    assert [frames.complete(right[:n], ASKED) for n in range(1, len(right) + 1)] == [False] * (len(right) - 1) + [True]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("0008 0000 0007 02 03 04 0001 0002", "transaction 8 instead of 7"),
        ("0000 0000 0007 02 03 04 0001 0002", "transaction 0 instead of 7"),
        ("0007 0001 0007 02 03 04 0001 0002", "protocol 1"),
        ("0007 0000 0007 01 03 04 0001 0002", "unit 1 instead of 2"),
        ("0007 0000 0007 02 04 04 0001 0002", "function code 4 instead of 3"),
        ("0007 0000 0005 02 03 02 0001", "length 5 instead of 7"),
        ("0007 0000 0009 02 03 06 0001 0002 0003", "length 9"),
        ("0007 0000 0007 02 03 02 0001 0002", "byte count 2 instead of 4"),
        ("0007 0000 EA60 02 03 04 0001 0002", "length 60000"),
        ("0007 0000 0001 02 03", "length 1"),
        ("0007 0000 0004 02 83 02 00", "length 4 instead of 3"),
        ("0007 0000 0003 02 84 02", "function code 4"),
        ("0007 0000 0007 02 03 04 0001 0002 00", "1 more bytes"),
        ("FFFF", "it begins with ff ff"),
        ("0007 00 FF", "it begins with"),
    ],
)
def test_what_is_not_the_answer_is_refused(wrong: str, words: str) -> None:
    """Each foreign field is named, as soon as it can be seen."""
    with pytest.raises(InvalidReplyError, match=words):
        frames.complete(bytes.fromhex(wrong), ASKED)


def test_bytes_without_a_request_are_refused() -> None:
    """Nothing may arrive while nothing was asked."""
    with pytest.raises(InvalidReplyError, match="without a request"):
        frames.complete(b"\0", None)


@given(
    st.binary(min_size=1, max_size=40)
    | st.builds(lambda n, x, d: d[:n] + bytes([x]) + d[n + 1 :], st.integers(0, 12), st.integers(0, 255), st.just(RIGHT))
)
def test_only_the_right_form_is_ever_accepted(data: bytes) -> None:
    """Random bytes, and the right answer with one byte changed: accepted only where data or exception code alone differ."""
    try:
        accepted = frames.complete(data, ASKED)
    except InvalidReplyError:
        return
    if accepted:
        assert (data[:9] == RIGHT[:9] and len(data) == len(RIGHT)) or (data[:8] == REFUSAL[:8] and len(data) == len(REFUSAL))


@pytest.mark.parametrize(("function", "count", "size"), [(1, 1, 1), (1, 8, 1), (2, 9, 2), (3, 2, 4), (4, 125, 250)])
def test_sizes_of_answers(function: int, count: int, size: int) -> None:
    """Bits come in whole bytes, registers in two each; the request on the wire says what its answer has."""
    assert frames.data_bytes(function, count) == size
    assert frames.sent(struct.pack(">HHHBBHH", 7, 0, 6, 2, function, 99, count)) == Request(7, 2, function, size)


@pytest.mark.parametrize("code", [code for code in range(256) if code not in {1, 2, 3, 4}])
def test_no_other_function_code_leaves(code: int) -> None:
    """Every function code but the four that read is blocked, as an object and as bytes."""
    with pytest.raises(PermissionError, match=f"function code {code} is blocked"):
        guard.check_function(code)
    with pytest.raises(PermissionError, match="blocked"):
        guard.check_frame(struct.pack(">HHHBBHH", 1, 0, 6, 1, code, 0, 1))


@pytest.mark.parametrize(
    "frame", ["", "0001 0000 0006 01 03 0000 0001 0002 0000 0006 01 06 0000 0001", "0001 0001 0006 01 03 0000 0001"]
)
def test_only_single_plain_frames_leave(frame: str) -> None:
    """A second request behind the first, a foreign protocol or nothing at all is blocked."""
    with pytest.raises(PermissionError):
        guard.check_frame(bytes.fromhex(frame))


@pytest.mark.parametrize("code", sorted(guard.READING))
def test_reads_leave(code: int) -> None:
    """The four reads pass."""
    guard.check_function(code)
    guard.check_frame(struct.pack(">HHHBBHH", 1, 0, 6, 1, code, 0, 1))
