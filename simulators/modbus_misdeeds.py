"""What a Modbus device, a gateway or a converter does wrong: one function for each misdeed, by name.

A misdeed is done to one request, instead of answering it rightly. It fills the entry of the ledger: ``right`` stays False unless what
was sent is the true answer of this register to this request, however late or in however many pieces.
"""

from __future__ import annotations

import asyncio

from simulators.modbus_framing import header
from simulators.modbus_stamps import INPUT
from simulators.modbus_turn import ALL, MBAP, MISDEEDS, RTU, SERIAL, Misdeed, Turn, misdeed

# -- F50: time -----------------------------------------------------------------------------------------------------------


@misdeed("F50")
async def slow(turn: Turn) -> None:
    """Use up 50 to 99 % of the timeout."""
    await asyncio.sleep(turn.timeout * turn.random.uniform(0.5, 0.99))
    await turn.link.send(turn.whole)


@misdeed("F50")
async def stalled(turn: Turn) -> None:
    """Answer nobody for ten timeouts, and never this request."""
    turn.stall(10 * turn.timeout)


@misdeed("F50")
async def silent(turn: Turn) -> None:
    """Never answer this request."""


# -- F51: after the timeout ----------------------------------------------------------------------------------------------


@misdeed("F51")
async def late(turn: Turn) -> None:
    """Answer after the timeout, when the next request may be waiting for its own answer."""
    await asyncio.sleep(turn.timeout * turn.random.uniform(1.05, 1.9))
    await turn.link.send(turn.whole)


@misdeed("F51", MBAP)
async def late_without_transaction(turn: Turn) -> None:
    """Answer after the timeout with transaction id 0, which pymodbus takes for the answer to anything (pymodbus #2844)."""
    await asyncio.sleep(turn.timeout * turn.random.uniform(1.05, 1.9))
    await turn.link.send(turn.wrapped(turn.pdu, transaction=0))


@misdeed("F51", MBAP | RTU, sockets_only=True)
async def one_behind(turn: Turn) -> None:
    """Answer each request when the next one has come: off by one for as long as the connection lives (pymodbus PR #2636)."""
    held, turn.link.held = turn.link.held, turn.whole
    if held is not None:
        await turn.link.send(held)


# -- F52: no answer to this request --------------------------------------------------------------------------------------


@misdeed("F52", MBAP)
async def wrong_transaction(turn: Turn) -> None:
    """Answer somebody else's transaction."""
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit), transaction=turn.request.transaction ^ 0x5A5A))


@misdeed("F52", MBAP)
async def previous_transaction(turn: Turn) -> None:
    """Answer the transaction before this one."""
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit), transaction=(turn.request.transaction - 1) & 0xFFFF))


@misdeed("F52", MBAP)
async def transaction_zero(turn: Turn) -> None:
    """Answer without a transaction id."""
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit), transaction=0))


@misdeed("F52")
async def wrong_unit(turn: Turn) -> None:
    """Let the neighbour answer."""
    await turn.link.send(turn.wrapped(turn.foreign(), unit=turn.request.unit + 1))


@misdeed("F52")
async def wrong_function(turn: Turn) -> None:
    """Answer from another table: holding registers for input registers, coils for discrete inputs, and the other way round."""
    other = {1: 2, 2: 1, 3: INPUT, 4: 3}[turn.request.function]
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit, function=other)))


@misdeed("F52")
async def byte_count(turn: Turn) -> None:
    """Say another number of bytes than there are."""
    pdu = turn.foreign(unit=turn.request.unit)
    await turn.link.send(turn.wrapped(bytes([pdu[0], pdu[1] ^ 2]) + pdu[2:]))


@misdeed("F52")
async def fewer_registers(turn: Turn) -> None:
    """Answer one register (or eight bits) less than asked, consistently."""
    less = turn.entry.count - (1 if turn.request.function in {3, 4} else 8)
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit, count=max(less, 0))))


@misdeed("F52")
async def more_registers(turn: Turn) -> None:
    """Answer one register (or eight bits) more than asked, consistently."""
    more = turn.entry.count + (1 if turn.request.function in {3, 4} else 8)
    await turn.link.send(turn.wrapped(turn.foreign(unit=turn.request.unit, count=more)))


@misdeed("F52")
async def short_frame(turn: Turn) -> None:
    """Leave out the last bytes."""
    frame = turn.wrapped(turn.foreign(unit=turn.request.unit))
    await turn.link.send(frame[: -turn.random.randint(1, 3)])


@misdeed("F52")
async def single_bytes(turn: Turn) -> None:
    """Send the right answer in segments of one byte."""
    for byte in turn.whole:
        await turn.link.send(bytes([byte]))
        await asyncio.sleep(0)


@misdeed("F52")
async def two_frames(turn: Turn) -> None:
    """Send the answer and, in the same segment, what would fit the next request."""
    follows = turn.wrapped(turn.foreign(unit=turn.request.unit), transaction=(turn.request.transaction + 1) & 0xFFFF)
    await turn.link.send(turn.whole + follows)


@misdeed("F52", MBAP)
async def another_follows(turn: Turn) -> None:
    """Send the answer and a moment later, when the next request is out, a second one."""
    follows = turn.wrapped(turn.foreign(unit=turn.request.unit), transaction=(turn.request.transaction + 1) & 0xFFFF)
    await turn.link.send(turn.whole)
    await asyncio.sleep(turn.random.uniform(0, 0.004))
    await turn.link.send(follows)


@misdeed("F52", MBAP)
async def length_60000(turn: Turn) -> None:
    """Announce 60,000 bytes."""
    pdu = turn.foreign(unit=turn.request.unit)
    await turn.link.send(header(turn.request.transaction, turn.request.unit, 60_000) + pdu)


@misdeed("F52", MBAP)
async def foreign_protocol(turn: Turn) -> None:
    """Answer in a protocol that is not Modbus."""
    await turn.link.send(turn.framing.wrap(turn.request.unit, turn.pdu, turn.request.transaction, damaged=True))


@misdeed("F52", SERIAL)
async def wrong_checksum(turn: Turn) -> None:
    """Answer with a bit flipped on the way: the checksum does not fit."""
    await turn.link.send(turn.framing.wrap(turn.request.unit, turn.foreign(unit=turn.request.unit), damaged=True))


@misdeed("F52")
async def empty_pdu(turn: Turn) -> None:
    """Answer with a frame that says nothing."""
    await turn.link.send(turn.wrapped(b""))


@misdeed("F52")
async def garbage(turn: Turn) -> None:
    """Send noise."""
    await turn.link.send(turn.random.randbytes(turn.random.randint(1, 300)))


@misdeed("F52")
async def noise_before(turn: Turn) -> None:
    """Send noise and then the right answer: it may be taken, if it is recognised."""
    await turn.link.send(turn.random.randbytes(turn.random.randint(1, 6)) + turn.whole)


@misdeed("F52")
async def echo(turn: Turn) -> None:
    """Send the request back, as a two-wire converter does, and no answer."""
    await turn.link.send(turn.wrapped(turn.request.pdu))


@misdeed("F52")
async def echo_of_a_write(turn: Turn) -> None:
    """Answer a write that nobody made."""
    await turn.link.send(turn.wrapped(bytes.fromhex("0500 00FF 00")))


# -- F53: exceptions -----------------------------------------------------------------------------------------------------

__all__ = ["EXCEPTIONS", "MISDEEDS"]

EXCEPTIONS = (1, 2, 3, 4, 5, 6, 8, 10, 11)


def _exception(code: int) -> None:
    async def act(turn: Turn) -> None:
        await turn.link.send(turn.wrapped(bytes([turn.request.function | 0x80, code])))

    name = f"exception {code}"
    MISDEEDS[name] = Misdeed(name, "F53", ALL, sockets_only=False, act=act, what=f"Answer with exception {code} (V1.1b3, 7).")


for _code in EXCEPTIONS:
    _exception(_code)


# -- F54: the connection -------------------------------------------------------------------------------------------------


@misdeed("F54", sockets_only=True)
async def closes_after_it(turn: Turn) -> None:
    """Answer, and close the connection: one request each, as small devices have it."""
    await turn.link.send(turn.whole)
    await turn.link.close()


@misdeed("F54", sockets_only=True)
async def closes_before_it(turn: Turn) -> None:
    """Close the connection instead of answering."""
    await turn.link.close()


@misdeed("F54", sockets_only=True)
async def resets(turn: Turn) -> None:
    """Reset the connection instead of answering."""
    await turn.link.close(reset=True)


@misdeed("F54", sockets_only=True)
async def closes_amid_it(turn: Turn) -> None:
    """Send half of the answer and close."""
    frame = turn.wrapped(turn.foreign(unit=turn.request.unit))
    await turn.link.send(frame[: len(frame) // 2])
    await turn.link.close(reset=turn.random.random() < 0.5)
