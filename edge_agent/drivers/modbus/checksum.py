"""The checksums of frames on a serial line (pure): Modbus over Serial Line V1.02, 6.2.1 (LRC) and 6.2.2 (CRC)."""

from __future__ import annotations

from typing import Final


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_TABLE: Final = tuple(_entry(byte) for byte in range(256))


def crc(data: bytes) -> bytes:
    """Return the two bytes that follow ``data`` in an RTU frame, in the order of the wire (low byte first)."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value.to_bytes(2, "little")


def lrc(data: bytes) -> int:
    """Return the byte that follows ``data`` in an ASCII frame: what makes the sum of all bytes 0 (mod 256)."""
    return -sum(data) & 0xFF
