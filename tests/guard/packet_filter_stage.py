"""In a network of its own: a device that counts, a service that sends every function code, and `systemd/edge-agent.nft` between them.

Run by the tests as ``unshare -n -m python packet_filter_stage.py FILE [CODE ...]``, as root; prints JSON. Exit code 77: this machine cannot do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pymodbus.exceptions import ModbusIOException

from edge_agent.drivers.modbus.checksum import crc, lrc
from edge_agent.drivers.modbus.frames import InvalidReplyError
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.tcp import TcpWire

CGROUP = Path("/sys/fs/cgroup")
SERVICE = CGROUP / "system.slice" / "edge-agent.service"
CANNOT = 77
PORTS = {"tcp": 502, "rtu": 4001, "ascii": 4002, "other": 9502}
PDU = {
    1: "01 0000 0002", 2: "02 0000 0002", 3: "03 0000 0002", 4: "04 0000 0002",
    5: "05 0000 FF00", 6: "06 0000 0007", 8: "08 0001 0000", 15: "0F 0000 0001 01 01", 16: "10 0000 0001 02 0007",
    21: "15 07 06 0004 0007 0000", 22: "16 0000 00F2 0025", 23: "17 0000 0001 0000 0001 02 0007", 43: "2B 0E 01 00", 0x2B0D: "2B 0D 01 00", 90: "5A 00 10",
}  # fmt: skip
_PATIENCE = 2.0
_DROPPED = 0.05
"""Seconds for an answer, and for none: what comes later is in what the device received."""


def framed(kind: str, pdu: bytes) -> bytes:
    """Return a request in a framing."""
    if kind == "rtu":
        return b"\1" + pdu + crc(b"\1" + pdu)
    if kind == "ascii":
        return b":" + (b"\1" + pdu + bytes([lrc(b"\1" + pdu)])).hex().upper().encode() + b"\r\n"
    return struct.pack(">HHHB", 7, 0, len(pdu) + 1, 1) + pdu


class Device:
    """Counts the bytes that arrive at each port and answers whatever it is with one byte."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = dict.fromkeys(PORTS, b"")
        for name, port in PORTS.items():
            listening = socket.create_server(("127.0.0.1", port))
            threading.Thread(target=self._accept, args=(name, listening), daemon=True).start()

    def _accept(self, name: str, listening: socket.socket) -> None:
        while True:
            each, _ = listening.accept()
            threading.Thread(target=self._serve, args=(name, each), daemon=True).start()

    def _serve(self, name: str, each: socket.socket) -> None:
        with each, contextlib.suppress(OSError):
            while data := each.recv(4096):
                self.received[name] += data
                each.sendall(b"!")


def sent(port: int, *pieces: bytes, patience: float = _DROPPED) -> bool:
    """Send segments on a connection of their own; whether the device answered the last one."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as client:
        client.settimeout(patience)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answered = False
        for piece in pieces:
            client.sendall(piece)
            try:
                answered = client.recv(1) == b"!"
            except TimeoutError:
                answered = False
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # what was dropped is not sent again
        return answered


async def unguarded_driver() -> None:
    """Send a write with the driver's own wire, its two checks taken away, then a read with them: the device tells what arrived."""
    for write in (True, False):
        wire = TcpWire("127.0.0.1", PORTS["tcp"], lambda: 0, lambda: None)
        await wire.open(_PATIENCE)
        try:
            if write:
                wire._client.ctx.trace_pdu = wire._client.ctx.trace_packet = lambda _, data: data
                wire._client.ctx.comm_params.timeout_connect = _DROPPED
                await wire._client.write_register(0, 7, device_id=1)
            else:
                await wire.read(1, Block("holding", 0, 77, 1, ()), _PATIENCE)
        except (ModbusIOException, InvalidReplyError):
            pass  # the device answers with one byte, or nothing came to it
        finally:
            wire._client.ctx.transport.abort()


def play(codes: Sequence[int]) -> dict[str, object]:
    """Send everything from inside the service."""
    pdus = {code: bytes.fromhex(PDU[code]) for code in codes}
    result: dict[str, object] = {
        kind: {
            code: sent(PORTS[kind], framed(kind, pdu), patience=_PATIENCE if code <= 4 or kind == "other" else _DROPPED)
            for code, pdu in pdus.items()
        }
        for kind in PORTS
    }
    read, write = framed("tcp", pdus[3]), framed("tcp", pdus[6])
    result["behind a read"] = sent(502, read + write)
    if len(codes) < len(PDU):
        return result
    result["in pieces"] = [sent(502, write[:cut], write[cut:]) for cut in (1, 6, 7, 8, 11)]
    result["after a read"] = sent(502, read, write)
    result["as a piece like a read"] = sent(502, write[:7], bytes.fromhex("0000 0000 0006 01 03 0000 0001"))
    asyncio.run(unguarded_driver())
    return result


def in_service(codes: Sequence[int]) -> dict[str, object]:
    """Play in a child inside the service's cgroup; the device stays outside, as PLCs do."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        (SERVICE / "cgroup.procs").write_text(str(os.getpid()))
        os.write(write, json.dumps(play(codes)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(child, 0)
    return json.loads(text)


def main(rules: Path, codes: Sequence[int]) -> int:
    """Set the stage, play, and print what came of it."""
    if not os.path.ismount(CGROUP) or not (CGROUP / "cgroup.procs").exists():
        subprocess.run(["mount", "-t", "cgroup2", "none", str(CGROUP)], check=True)
    if SERVICE.exists():
        print("an edge-agent.service runs on this machine", file=sys.stderr)
        return CANNOT
    SERVICE.mkdir(parents=True)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        loaded = subprocess.run([shutil.which("nft") or "nft", "-f", str(rules)], check=False, capture_output=True, text=True)
        if loaded.returncode != 0:
            print(loaded.stderr, file=sys.stderr)
            return 1
        for name, port in (("rtu_ports", 4001), ("ascii_ports", 4002)):
            subprocess.run(["nft", "add", "element", "inet", "edge_agent", name, f"{{ {port} }}"], check=True)
        device = Device()
        result = in_service(codes)
        result["received"] = {name: data.hex() for name, data in device.received.items()}
        result["another program"] = sent(502, framed("tcp", bytes.fromhex(PDU[6])), patience=_PATIENCE)
    finally:
        for folder in (SERVICE, SERVICE.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [int(code) for code in sys.argv[2:]] or list(PDU)))
