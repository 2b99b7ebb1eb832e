"""RTU and ASCII frames without a line: published examples, the judgement of replies, the guard in every framing."""

import struct
from binascii import hexlify

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.modbus import frames, guard
from edge_agent.drivers.modbus.checksum import crc, lrc
from edge_agent.drivers.modbus.frames import InvalidReplyError, Request
from edge_agent.drivers.modbus.framing import ASCII, RTU, TCP_UNNUMBERED, Framing
from edge_agent.drivers.modbus.serialline import SerialLine

PUBLISHED = [
    # request, answer: examples of V1.1b3, 6.1 to 6.4 on the line, with the checksums that simplymodbus.ca prints for them
    ("11 01 0013 0025 0E84", "11 01 05 CD6BB20E1B 45E6"),
    ("11 02 00C4 0016 BAA9", "11 02 03 ACDB35 2018"),
    ("11 03 006B 0003 7687", "11 03 06 AE4156524340 49AD"),
    ("11 04 0008 0001 B298", "11 04 02 000A F8F4"),
    ("0A 01 04A1 0001 AC63", "0A 81 02 B053"),
]


@pytest.mark.parametrize("text", [frame for pair in PUBLISHED for frame in pair] + ["02 07 4112", "01 03 0000 000A C5CD"])
def test_the_crc_of_published_frames(text: str) -> None:
    """Also the example of V1.02, 6.2.2: device 2, function 7."""
    frame = bytes.fromhex(text)
    assert crc(frame[:-2]) == frame[-2:]


@pytest.mark.parametrize(("text", "check"), [("11 03 006B 0003", 0x7E), ("11 01 0013 0025", 0xB6), ("00", 0), ("01 FF", 0)])
def test_the_lrc_of_published_frames(text: str, check: int) -> None:
    """It makes the sum 0."""
    assert lrc(bytes.fromhex(text)) == check


def as_ascii(frame: bytes) -> bytes:
    """Return an RTU frame as the ASCII frame that says the same."""
    return b":" + hexlify(frame[:-2] + bytes([lrc(frame[:-2])])).upper() + b"\r\n"


@pytest.mark.parametrize(("request_", "answer"), PUBLISHED)
@pytest.mark.parametrize("framing", [RTU, ASCII], ids=["rtu", "ascii"])
def test_published_requests_leave_and_their_answers_are_accepted(framing: Framing, request_: str, answer: str) -> None:
    """Every prefix of the right answer means "wait", the whole means "yes"."""
    asked, right = bytes.fromhex(request_), bytes.fromhex(answer)
    if framing is ASCII:
        asked, right = as_ascii(asked), as_ascii(right)
    guard.check_frame(asked, framing.name)
    request = framing.sent(asked)
    judged = [framing.complete(right[:n], request) for n in range(1, len(right) + 1)]
    assert judged == [False] * (len(right) - 1) + [True]


ASKED = Request(0, unit=0x11, function=3, size=6)
RIGHT = bytes.fromhex("11 03 06 AE4156524340 49AD")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("12", "unit 18 instead of 17"),
        ("11 04", "function code 4 instead of 3"),
        ("11 06 006B 0003", "function code 6 instead of 3"),
        ("11 03 04", "byte count 4 instead of 6"),
        ("11 03 06 AE4156524340 49AE", "CRC 49 ae instead of 49 ad"),
        ("11 03 06 AE4156524341 49AD", "CRC 49 ad instead of"),
        ("11 03 06 AE4156524340 49AD 00", "1 more bytes"),
        ("11 03 06 AE4156524340 49AD 11 03 06 AE4156524340 49AD", "11 more bytes"),
        ("11 83 02 0000", "CRC"),
        ("11 84 02", "function code 4"),
        ("00 11 03 06", "unit 0"),
    ],
)
def test_what_is_not_the_rtu_answer_is_refused(wrong: str, words: str) -> None:
    """Each foreign field is named, as soon as it can be seen."""
    with pytest.raises(InvalidReplyError, match=words):
        RTU.complete(bytes.fromhex(wrong), ASKED)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"1103", "instead of a colon"),
        (b":12", "unit 18"),
        (b":1104", "function code 4"),
        (b":110304", "byte count 4"),
        (b":11XX", "not hexadecimal"),
        (b":110306AE41 6524340CC\r\n", "not hexadecimal"),
        (b":110306AE4156524340CD\r\n", "LRC cd instead of cc"),
        (b":110306AE4156524340CC\n\r", "it ends with"),
        (b":110306AE4156524340CC\r\n:", "1 more"),
    ],
)
def test_what_is_not_the_ascii_answer_is_refused(wrong: bytes, words: str) -> None:
    """Likewise."""
    with pytest.raises(InvalidReplyError, match=words):
        ASCII.complete(wrong, ASKED)


@pytest.mark.parametrize("framing", [RTU, ASCII, TCP_UNNUMBERED], ids=["rtu", "ascii", "tid_zero"])
def test_bytes_without_a_request_are_refused(framing: Framing) -> None:
    """Nothing may arrive while nothing was asked."""
    with pytest.raises(InvalidReplyError, match="without a request"):
        framing.complete(b":0", None)


def test_transaction_zero_passes_only_where_it_is_allowed() -> None:
    """With the quirk 0 and the right number pass, any other number does not; without it 0 does not either."""
    asked = Request(7, 2, 3, 2)
    answer = "0000 0005 02 03 02 0001"
    assert [TCP_UNNUMBERED.complete(bytes.fromhex(tid + answer), asked) for tid in ("0000", "0007")] == [True, True]
    for judge, tid in ((TCP_UNNUMBERED.complete, "0008"), (frames.complete, "0000")):
        with pytest.raises(InvalidReplyError, match="transaction"):
            judge(bytes.fromhex(tid + answer), asked)


@given(
    st.binary(min_size=1, max_size=20)
    | st.builds(lambda n, x: RIGHT[:n] + bytes([x]) + RIGHT[n + 1 :], st.integers(0, 10), st.integers(0, 255))
)
def test_only_the_right_rtu_form_is_ever_accepted(data: bytes) -> None:
    """Random bytes, and the right answer with one byte changed: every change is found, for the CRC finds every single one."""
    try:
        accepted = RTU.complete(data, ASKED)
    except InvalidReplyError:
        return
    assert not accepted or data == RIGHT or (data[:2] == b"\x11\x83" and crc(data[:-2]) == data[-2:])


def framed(unit: int, pdu: bytes, name: str) -> bytes:
    """Return a correct frame in any framing."""
    body = bytes([unit]) + pdu
    if name == "tcp":
        return struct.pack(">HHH", 1, 0, len(body)) + body
    return body + crc(body) if name == "rtu" else as_ascii(body + crc(body))


@pytest.mark.parametrize("name", ["tcp", "rtu", "ascii"])
@pytest.mark.parametrize("code", [code for code in range(256) if code not in guard.READING])
def test_no_other_function_code_leaves_in_any_framing(name: str, code: int) -> None:
    """Every function code but the four that read is blocked, however right its frame is."""
    with pytest.raises(PermissionError, match=f"function code {code} is blocked"):
        guard.check_frame(framed(1, struct.pack(">BHH", code, 0, 1), name), name)


@pytest.mark.parametrize("name", ["tcp", "rtu", "ascii"])
def test_only_whole_single_requests_leave(name: str) -> None:
    """A read passes; two in one, a part, a read with something behind it, nothing at all, and a frame of another framing do not."""
    read = framed(1, b"\x03\0\0\0\x01", name)
    guard.check_frame(read, name)
    others = [framed(1, b"\x03\0\0\0\x01", other) for other in ("tcp", "rtu", "ascii") if other != name]
    for blocked in (read + read, read[:-1], framed(1, b"\x03\0\0\0\x01\x06\0\0\0\x01", name), b"", b"\0" * 4, *others):
        with pytest.raises(PermissionError, match="blocked"):
            guard.check_frame(blocked, name)


def test_the_silence_between_frames() -> None:
    """3.5 characters of 11 bits; above 19200 baud 1.75 ms (V1.02, 2.5.1.1)."""
    assert SerialLine(9600, 8, "even", 1).silence == pytest.approx(3.5 * 11 / 9600)
    assert SerialLine(19_200, 8, "none", 2).silence == pytest.approx(3.5 * 11 / 19_200)
    assert SerialLine(115_200, 8, "even", 1).silence == 0.00175
    assert SerialLine(1200, 7, "even", 1).lasts(120) == 1.0
