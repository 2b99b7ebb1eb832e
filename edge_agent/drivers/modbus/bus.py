"""What a read costs: bytes on the wire, and seconds of a serial line (pure).

A line is busy from the first character of a request to the silence behind the answer. Sizes: TCP has a header of 7 bytes (Modbus Messaging on
TCP/IP V1.0b, 3.1.3); RTU an address and two bytes of CRC, and 3.5 characters of silence before every frame (Modbus over Serial Line V1.02,
2.5.1.1); ASCII a colon, an address and an LRC, two characters for each byte, CR and LF (2.5.2.1). How long a device thinks, or a network takes, stands
in no standard: `ANSWER` is an assumption, and whoever uses it says so.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.drivers.modbus.connection import ConnectionConfig, FramingName
from edge_agent.drivers.modbus.field import is_bits
from edge_agent.drivers.modbus.plan import FEWEST, Block
from edge_agent.drivers.modbus.serialline import SerialLine
from edge_agent.model.instant import MS, NS

ANSWER = 10 * MS
"""Machine ns that a device is taken to think about a request, the network's way there and back with it."""

_REQUEST = 5
"""Function, address and count (V1.1b3, 6.1 to 6.4)."""

_ANSWER = 2
"""Function and byte count, before the data."""


class Bus(NamedTuple):
    """The way of a request: how it is framed, the serial line that it takes (None: none is known of), and the pause between two (ns)."""

    framing: FramingName
    line: SerialLine | None
    pause: int = 0

    @classmethod
    def of(cls, config: ConnectionConfig, pause: int = 0) -> Bus:
        """Return the way to a device. A ``tcp`` gateway has a line behind it that counts when its ``baud`` is given: gateways speak RTU there."""
        known = config.serial is not None or config.spoken != "tcp" or "baud" in config.model_fields_set
        return cls(config.spoken, config.line if known else None, pause)

    def frame(self, body: int) -> int:
        """Return the bytes, or characters, of a frame whose function and data have ``body`` bytes."""
        return {"tcp": 7 + body, "rtu": 3 + body, "ascii": 5 + 2 * (1 + body)}[self.framing]

    def bytes_of(self, block: Block) -> int:
        """Return the bytes of request and answer of one read, without those of TCP and IP."""
        return self.frame(_REQUEST) + self.frame(_ANSWER + _data(block))

    def seconds(self, block: Block, answer: int = 0) -> float:
        """Return how long one read keeps the connection busy when the device thinks for ``answer`` ns; without a line its bytes take no time."""
        return self._taken(_data(block)) + (self.pause + answer) / NS

    def _taken(self, data: int) -> float:
        if self.line is None:
            return 0.0
        if self.framing == "ascii":
            return self.line.lasts(self.frame(_REQUEST) + self.frame(_ANSWER + data))
        behind = Bus("rtu", None)  # also behind a gateway that is spoken to in TCP
        return self.line.lasts(behind.frame(_REQUEST) + behind.frame(_ANSWER + data)) + 2 * self.line.silence

    @property
    def request(self) -> int:
        """What one more request costs, in bits of answer (see `plan.Limits`): nothing that can be read over is as dear without a known line."""
        if self.line is None:
            return FEWEST
        register = self._taken(2) - self._taken(0)
        return round(16 * (self._taken(0) + (self.pause + ANSWER) / NS) / register)


def _data(block: Block) -> int:
    return (block.count + 7) // 8 if is_bits(block.area) else 2 * block.count
