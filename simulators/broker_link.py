"""One connection to the broker: reads packets, answers them, and errs as the faults say."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulators import mqtt_wire as wire
from simulators import mqtt_write
from simulators.mqtt_wire import V5, MalformedError, Message

if TYPE_CHECKING:
    from simulators.broker import Broker
    from simulators.broker_session import Session

_HOLD = 0.05
"""Seconds after which acknowledgements that were held for reordering go out all the same."""
_CONNECT_WITHIN = 30.0


class _EndedError(Exception):
    """The connection is over, in the words of the ledger."""


class Link:
    """Serves one connection until it ends; made by the broker."""

    def __init__(self, broker: Broker, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.receive_maximum = 65_535
        self.client = ""
        self.version = V5
        self.session: Session | None = None
        self.will: Message | None = None
        self._broker, self._faults = broker, broker.faults
        self._reader, self._writer = reader, writer
        self._largest_out = self._largest_in = 268_435_455
        self._window = 65_535
        self._open: set[int] = set()
        self._keepalive: float | None = _CONNECT_WITHIN
        self._bytes = 0
        self._held: list[tuple[int, int]] = []

    # -- the connection's life -------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve until either side ends it; whatever happens is a line of the ledger."""
        why = "the client went away"
        try:
            while True:
                async with asyncio.timeout(self._keepalive):
                    first, body = await self._read()
                self._handle(first, body)
                await self._writer.drain()
        except _EndedError as error:
            why = str(error)
        except MalformedError as error:
            why = f"protocol: {error}"
            self.say_goodbye(error.code)
        except TimeoutError:
            why = "keep-alive"
            self.say_goodbye(0x8D)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._broker.left(self, why)
            self._writer.close()

    def say_goodbye(self, code: int) -> None:
        """Send a DISCONNECT with a reason (MQTT 5) and close."""
        if self.version == V5 and not self._writer.is_closing():
            self._writer.write(mqtt_write.disconnect(code))
        self._writer.close()

    def reset(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()

    async def _read(self) -> tuple[int, bytes]:
        first = (await self._exactly(1))[0]
        length, used = await wire.read_length(self._reader)
        await self._count(used)
        if 1 + used + length > self._largest_in:
            raise MalformedError(f"a packet of {1 + used + length} bytes", 0x95)
        return first, await self._exactly(length)

    async def _exactly(self, n: int) -> bytes:
        limit = self._faults.argument("disconnect_after")
        if limit is not None and self._bytes + n > limit:
            await self._reader.readexactly(max(0, limit - self._bytes))
        await self._count(n)
        return await self._reader.readexactly(n)

    async def _count(self, n: int) -> None:
        self._bytes += n
        limit = self._faults.argument("disconnect_after")
        if limit is not None and self._bytes > limit:
            self._faults.strikes("disconnect_after")
            self.reset()
            raise _EndedError(f"fault: cut after {limit} bytes")

    def _handle(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if self.session is None:
            if kind != wire.CONNECT:
                raise MalformedError("no CONNECT first", 0x82)
            self._connect(wire.read_connect(body))
            return
        match kind:
            case wire.PUBLISH:
                self._publish(first, body)
            case wire.PUBACK:
                self.session.acknowledge(wire.read_ack(body)[0])
            case wire.SUBSCRIBE:
                self._subscribe(body)
            case wire.UNSUBSCRIBE:
                mid, names = wire.read_unsubscribe(body, self.version)
                gone = [0x00 if self.session.subscriptions.pop(name, None) else 0x11 for name in names]
                self._writer.write(mqtt_write.codes(wire.UNSUBACK, self.version, mid, gone))
            case wire.PINGREQ:
                self._writer.write(mqtt_write.packet(wire.PINGRESP, b""))
            case wire.DISCONNECT:
                self._disconnect(body)
            case _:
                raise MalformedError(f"packet type {kind}", 0x82)

    # -- CONNECT and DISCONNECT ------------------------------------------------------------------------------------

    def _connect(self, said: wire.Connect) -> None:
        self.version, self.client = said.version, said.client
        self._keepalive = said.keepalive * 1.5 if said.keepalive else None
        self.receive_maximum = wire.value(said.properties, wire.RECEIVE_MAXIMUM) or 65_535
        self._largest_out = wire.value(said.properties, wire.MAXIMUM_PACKET) or self._largest_out
        if self._faults.strikes("no_connack"):
            self._broker.ledger.write("connect", client=said.client, link=self.number, code=None)
            self._keepalive = None
            return
        if fault := self._faults.strikes("connack"):
            self._broker.ledger.write("connect", client=said.client, link=self.number, code=fault.argument)
            self._writer.write(mqtt_write.connack(self.version, fault.argument, []))
            raise _EndedError(f"fault: refused with 0x{fault.argument:02X}")
        content = self._limits()
        if not said.client:
            self.client = f"auto-{self.number}"
            content.append((wire.ASSIGNED_ID, self.client))
        self.will = said.will
        session, present = self._broker.joined(self, said)
        self._writer.write(mqtt_write.connack(self.version, 0, content, present=present))
        self.session = session
        session.attach(self)
        if fault := self._faults.strikes("take_over"):
            asyncio.get_running_loop().call_later(fault.argument / 1000, self.say_goodbye, 0x8E)

    def _limits(self) -> wire.Properties:
        content: wire.Properties = [(wire.MAXIMUM_QOS, 1), (wire.SHARED_AVAILABLE, 0)]
        if (window := self._faults.argument("receive_maximum")) is not None:
            self._window = window
            content.append((wire.RECEIVE_MAXIMUM, window))
        if (largest := self._faults.argument("maximum_packet")) is not None:
            self._largest_in = largest
            content.append((wire.MAXIMUM_PACKET, largest))
        return content

    def _disconnect(self, body: bytes) -> None:
        code, content = wire.read_disconnect(body)
        if code != 0x04:
            self.will = None
        expiry = wire.value(content, wire.SESSION_EXPIRY)
        if expiry is not None and self.session is not None:
            self.session.expiry = expiry
        raise _EndedError(f"DISCONNECT 0x{code:02X}")

    # -- PUBLISH and SUBSCRIBE -------------------------------------------------------------------------------------

    def _publish(self, first: int, body: bytes) -> None:
        message, mid, dup = wire.read_publish(first, body, self.version)
        if message.qos > 1:
            raise MalformedError("QoS 2", 0x9B)
        if message.qos:
            self._open.add(mid)
            if len(self._open) > self._window:
                raise MalformedError(f"{len(self._open)} messages unacknowledged", 0x93)
        refused = self._faults.strikes("reason_code", message) if message.qos else None
        code = refused.argument if refused else 0
        if fault := self._faults.strikes("disconnect", message):
            raise MalformedError("fault", fault.argument)
        about: dict[str, Any] = {"client": self.client, "link": self.number, "mid": mid, "dup": dup, "code": code}
        about["size"] = 1 + len(mqtt_write.varint(len(body))) + len(body)
        self._broker.publish(message, self.client, lambda: self._answer(message, mid, code), about)

    def _answer(self, message: Message, mid: int, code: int) -> None:
        """Acknowledge what is on the disk now, unless a fault is in the way."""
        if not message.qos or self._writer.is_closing():
            return
        if code and self.version != V5:
            self.reset()
        elif self._faults.strikes("never_ack", message) or self._faults.strikes("drop_ack", message):
            return
        elif fault := self._faults.strikes("garbage", message):
            noise = random.Random(fault.argument).randbytes(16)
            self._later(lambda: self._writer.write(noise))
        elif fault := self._faults.strikes("ack_reordered", message):
            self._hold(mid, code, fault.argument)
        elif self._faults.strikes("ack_wrong_id", message):
            self._later(lambda: self._acknowledge(mid ^ 0x5555, code))
        else:
            self._later(lambda: self._acknowledge(mid, code))
            if self._faults.strikes("ack_twice", message):
                self._later(lambda: self._acknowledge(mid, code))

    def _later(self, act: Callable[[], object]) -> None:
        if fault := self._faults.strikes("slow"):
            asyncio.get_running_loop().call_later(fault.argument / 1000, act)
        else:
            act()

    def _hold(self, mid: int, code: int, most: int) -> None:
        self._held.append((mid, code))
        if len(self._held) >= most:
            self._let_go()
        elif len(self._held) == 1:
            asyncio.get_running_loop().call_later(_HOLD, self._let_go)

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for mid, code in reversed(held):
            self._acknowledge(mid, code)

    def _acknowledge(self, mid: int, code: int) -> None:
        self._open.discard(mid)
        if not self._writer.is_closing():
            self._writer.write(mqtt_write.puback(self.version, mid, code))

    def send(self, message: Message, mid: int, *, dup: bool) -> bool:
        """Send a message to the client; False when it is larger than the client takes (3.1.2.11.4)."""
        raw = mqtt_write.publish(self.version, message, mid, dup=dup)
        if len(raw) > self._largest_out:
            return False
        with contextlib.suppress(ConnectionError):  # the read side hears of it and ends the link
            self._writer.write(raw)
        return True

    def _subscribe(self, body: bytes) -> None:
        mid, wanted = wire.read_subscribe(body, self.version)
        session = self.session
        if session is None:
            return
        granted = [min(each.qos, 1) if _is_filter(each.filter) else 0x8F for each in wanted]
        self._writer.write(mqtt_write.codes(wire.SUBACK, self.version, mid, granted))
        for each, code in zip(wanted, granted, strict=True):
            if code < 0x80:
                new = session.subscribe(each)
                if each.retain_handling == 0 or (each.retain_handling == 1 and new):
                    self._broker.send_retained(session, each)


def _is_filter(text: str) -> bool:
    """Say whether wildcards stand alone in their levels and ``#`` at the end (4.7.1); shared subscriptions are not served."""
    levels = text.split("/")
    alone = all(each in {"+", "#"} or not {"+", "#"} & set(each) for each in levels)
    return bool(text) and alone and "#" not in levels[:-1] and not text.startswith("$share/")
