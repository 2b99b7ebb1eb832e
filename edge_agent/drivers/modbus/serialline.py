"""A serial line as the standard has it: how long characters take, and how long it must be silent between frames (pure).

Modbus over Serial Line V1.02: 2.5.1 (RTU: 1 start, 8 data, parity, 1 stop bit, or 2 without parity; 19200 baud and even parity by default),
2.5.1.1 (3.5 characters of silence between frames; fixed 1.750 ms above 19200 baud), 2.5.2 (ASCII: 7 data bits).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

_FAST = 19_200
_FAST_SILENCE = 0.00175


class SerialLine(NamedTuple):
    """Speed and form of the characters on a serial line."""

    baud: int
    data_bits: int
    parity: Literal["even", "odd", "none"]
    stop_bits: int

    @property
    def character(self) -> float:
        """Seconds that one character takes."""
        return (1 + self.data_bits + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def silence(self) -> float:
        """Seconds of silence that end an RTU frame."""
        return _FAST_SILENCE if self.baud > _FAST else 3.5 * self.character

    def lasts(self, characters: int) -> float:
        """Return the seconds that ``characters`` take without a pause between them."""
        return characters * self.character
