"""Frames by chance (F86): 20,000 of each framing through the judgement of replies; the bench's own framing says which of them are right."""

from __future__ import annotations

import struct
import time
from random import Random

import pytest

from edge_agent.drivers.modbus import framing
from edge_agent.drivers.modbus.decode import Decoder
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.frames import InvalidReplyError, Request, data_bytes
from edge_agent.drivers.modbus.framing import Framing
from edge_agent.drivers.modbus.plan import Block
from edge_agent.model.reading import Quality
from simulators.modbus_framing import FRAMINGS, crc, header, lrc

FRAMES = 20_000
LONGEST = 0.1
"""Processor seconds that one frame may take."""

MINE = {"tcp": "mbap", "tid_zero": "mbap", "rtu": "rtu", "ascii": "ascii"}
THEIRS = {"tcp": framing.TCP, "tid_zero": framing.TCP_UNNUMBERED, "rtu": framing.RTU, "ascii": framing.ASCII}


def right_body(body: bytes, asked: Request) -> bool:
    """Whether unit and PDU are those of an answer or an exception, by V1.1b3, 6 and 7."""
    if len(body) < 3 or body[0] != asked.unit:
        return False
    if body[1] == asked.function | 0x80:
        return len(body) == 3
    return body[1] == asked.function and body[2] == asked.size and len(body) == 3 + asked.size


def right(name: str, frame: bytes, asked: Request) -> bool:
    """Whether a frame is an answer to ``asked``, by this bench's own reading of the standards."""
    match MINE[name]:
        case "mbap":
            if len(frame) < 9:
                return False
            allowed = {asked.transaction, 0} if name == "tid_zero" else {asked.transaction}
            wrapped = [header(transaction, asked.unit, len(frame) - 6) for transaction in allowed]
            return frame[:7] in wrapped and right_body(frame[6:], asked)
        case "rtu":
            return len(frame) > 4 and crc(frame[:-2]) == frame[-2:] and right_body(frame[:-2], asked)
        case _:
            if frame[:1] != b":" or frame[-2:] != b"\r\n" or not frame[1:-2].isalnum():
                return False
            try:
                body = bytes.fromhex(frame[1:-2].decode("ascii"))
            except ValueError:
                return False
            return len(body) > 3 and lrc(body[:-1]) == body[-1] and right_body(body[:-1], asked)


def drawn(random: Random, name: str, asked: Request) -> bytes:
    """Return a frame: right, of another request, with another length, an exception; then, mostly, damaged."""
    mine = FRAMINGS[MINE[name]]
    unit = asked.unit if random.random() < 0.9 else random.randrange(256)
    function = asked.function if random.random() < 0.9 else random.randrange(256)
    size = asked.size if random.random() < 0.8 else random.randrange(256)
    said = size if random.random() < 0.9 else random.randrange(256)
    pdu = bytes([function, said]) + random.randbytes(size)
    if random.random() < 0.2:
        pdu = bytes([function | 0x80, random.randrange(256)])
    transaction = random.choice((asked.transaction, asked.transaction, asked.transaction, 0, random.randrange(65_536)))
    frame = bytearray(mine.wrap(unit, pdu[: random.choice((253, 253, 253, 1, 0))], transaction, damaged=random.random() < 0.05))
    match random.randrange(8):
        case 0:
            frame[random.randrange(len(frame))] ^= 1 << random.randrange(8)
        case 1:
            del frame[random.randrange(len(frame)) :]
        case 2:
            frame.insert(random.randrange(len(frame) + 1), random.randrange(256))
        case 3:
            frame += frame[: random.randrange(len(frame) + 1)]
        case 4:
            frame = bytearray(random.randbytes(random.randrange(1, 40)))
        case _:
            pass
    return bytes(frame)


def judged(theirs: Framing, frame: bytes, asked: Request, random: Random) -> bytes | None:
    """Return what the driver takes for the answer when the frame comes in pieces; None when it takes nothing."""
    end = 0
    while end < len(frame):
        end = min(len(frame), end + random.choice((1, 2, 7, 300)))
        try:
            if theirs.complete(frame[:end], asked):
                return frame[:end]
        except InvalidReplyError:
            return None
    return None


def data_of(name: str, frame: bytes) -> bytes:
    """Return the data bytes of a right answer."""
    match MINE[name]:
        case "mbap":
            return frame[9:]
        case "rtu":
            return frame[3:-2]
        case _:
            return bytes.fromhex(frame[1:-2].decode())[3:-1]


@pytest.mark.parametrize("name", MINE)
def test_20000_frames_of_a_framing(name: str) -> None:
    """What is right is taken and nothing else is, in whatever pieces it comes; nothing crashes, nothing hangs, no value is invented."""
    random, taken, refused, slowest = Random(f"fuzz {name}"), 0, 0, 0.0
    for number in range(FRAMES):
        function, count = random.choice((1, 2, 3, 4)), random.choice((1, 2, 3, 16, 125))
        asked = Request(
            0 if MINE[name] != "mbap" else number % 65_535 + 1, random.choice((1, 17)), function, data_bytes(function, count)
        )
        frame = drawn(random, name, asked)
        began = time.process_time()
        answer = judged(THEIRS[name], frame, asked, random)
        slowest = max(slowest, time.process_time() - began)
        if answer is None:
            refused += 1
            assert not right(name, frame, asked), f"frame {number}, {frame.hex(' ')}, is the answer to {asked}"
            continue
        taken += 1
        assert right(name, answer, asked), f"frame {number}, {answer.hex(' ')}, is no answer to {asked}"
        if function in {3, 4} and len(data_of(name, answer)) == 2 * count:
            decoded(count, data_of(name, answer))
    assert taken > FRAMES // 20
    assert refused > FRAMES // 4
    assert slowest < LONGEST


def decoded(count: int, data: bytes) -> None:
    """Decode an answer as the driver does: each register has its own word."""
    fields = tuple(Field(index=number, name=f"r{number}", area="holding", address=number) for number in range(count))
    samples = Decoder(Block("holding", 0, count, 10**9, fields)).samples(data)
    assert samples == [(word, Quality.GOOD, None) for word in struct.unpack(f">{count}H", data)]
