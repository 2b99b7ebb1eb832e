"""The two packets that happen for every message, PUBLISH at QoS 1 and its PUBACK, past the library's general way. OASIS MQTT 5.0, 3.3 and 3.4.

The library reads byte by byte and makes a lock, a condition and a table of properties for each message: about 100 us of CPU a message.
Everything else (CONNECT, SUBSCRIBE, what comes in, wrong packets) is the library's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, cast

from paho.mqtt.client import MQTT_ERR_NO_CONN, Client
from paho.mqtt.enums import MessageType, MQTTErrorCode, MQTTProtocolVersion

from edge_agent.publish.packed import varint

_PUBACK: Final = 0x40
_LARGEST: Final = 268_435_455
_AHEAD: Final = 16 * 1024
"""Bytes read at once."""
_TOGETHER: Final = 64 * 1024
"""Bytes up to which packets leave in one write."""
_V5: Final = MQTTProtocolVersion.MQTTv5
_KNOWN: Final = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})


class Express(Client):
    """A client that `post`s, and tells ``acknowledged`` the message id and the reason code of each PUBACK."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Make a client like the library's."""
        super().__init__(*arguments, **options)
        self.acknowledged: Callable[[int, int], None] = lambda _mid, _code: None
        self.received = 0
        """Bytes that came in since the connection."""
        self._flying: set[int] = set()
        self._inlet = bytearray()
        self._trouble: OSError | None = None
        self._together: Any = None

    def post(self, topic: str, payload: bytes, properties: bytes, *, retain: bool) -> int | None:
        """Queue one message at QoS 1 and return its id, None when the connection is gone. ``properties`` with their length (MQTT 5 only).

        Raises ValueError for a topic or payload that no packet can carry.
        """
        name = topic.encode()
        self._raise_for_invalid_topic(name)
        if not name or len(payload) > _LARGEST:
            raise ValueError("an empty topic" if not name else "Payload too large.")
        if self._sock is None:
            return None
        if self._protocol is _V5:
            properties = properties or b"\0"
        mid = self._mid_generate()
        while mid in self._flying:
            mid = self._mid_generate()
        rest = b"%b%b%b%b" % (len(name).to_bytes(2, "big"), name, mid.to_bytes(2, "big"), properties)
        head = b"%c%b" % (0x32 | retain, varint(len(rest) + len(payload)))
        self._flying.add(mid)
        self._queue(head, rest, payload)
        return mid

    def _queue(self, *parts: bytes) -> None:
        """Add a packet to the last one of ours that has not begun to leave, or behind everything."""
        waiting, last = self._out_packet, self._together
        if last is None or not waiting or waiting[-1] is not last or last["pos"] or last["to_process"] > _TOGETHER:
            last = self._together = {
                "command": MessageType.PUBLISH, "mid": 0, "qos": 1, "pos": 0, "to_process": 0, "packet": bytearray(), "info": None
            }  # fmt: skip
            waiting.append(cast("Any", last))
        for part in parts:
            last["packet"] += part
        last["to_process"] = len(last["packet"])
        self._call_socket_register_write()

    # -- what comes in --------------------------------------------------------------------------------------------

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Take everything that is there: acknowledgements here, all else by the library."""
        filled = self._fill()
        while True:
            if self._in_packet["command"] == 0:
                self._take_acknowledgements()
                if filled and not self._inlet:
                    return MQTTErrorCode.MQTT_ERR_SUCCESS
            if self._sock is None:
                return MQTT_ERR_NO_CONN
            result = super().loop_read(max_packets)
            if result != MQTTErrorCode.MQTT_ERR_SUCCESS or not self._inlet:
                return result

    def _fill(self) -> bool:
        """Read ahead and return whether there was something; what ends the connection is left to the library."""
        if self._sock is not None and not self._inlet:
            try:
                self._inlet += super()._sock_recv(_AHEAD)
                self.received += len(self._inlet)
            except BlockingIOError:
                return False
            except OSError as error:
                self._trouble = error
        return bool(self._inlet)

    def _take_acknowledgements(self) -> None:
        """Take the plain acknowledgements in front of what was read: those of two bytes, and those with a code that the standard lists."""
        inlet, at = self._inlet, 0
        while len(inlet) - at >= 4 and inlet[at] == _PUBACK:
            size, code = inlet[at + 1], 0
            if size == 3 and self._protocol is _V5 and len(inlet) - at >= 5:
                code = inlet[at + 4]
            elif size != 2:
                break
            mid = inlet[at + 2] << 8 | inlet[at + 3]
            at += 2 + size
            self._landed(mid, code)
        del inlet[:at]

    def _landed(self, mid: int, code: int) -> None:
        if mid in self._flying:
            self._flying.discard(mid)
            self.acknowledged(mid, code)

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._trouble is not None:
            raise self._trouble
        if not self._inlet:
            return super()._sock_recv(bufsize)
        out = bytes(self._inlet[:bufsize])
        del self._inlet[:bufsize]
        return out

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Read any other PUBACK, also one whose reason code is none of those that 3.4.2.1 lists: real brokers say 0x95 there."""
        packet, code = self._in_packet["packet"], 0
        if cmd == "PUBACK" and self._protocol is _V5 and len(packet) > 2:
            code = packet[2]
            if code not in _KNOWN:
                self._in_packet["packet"] = bytearray(bytes(packet[:2]) + b"\x80")
        result = super()._handle_pubackcomp(cmd)  # the library's look at its form
        if cmd == "PUBACK":
            self._landed(int.from_bytes(packet[:2], "big"), code)
        return result
