"""No secret leaves the gateway: every kind of secret is given as a canary, and everything that can be seen of the agent is searched for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from live_agent import PASSWORD, ROOT, Live, Plc, process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

OPC = "canary-Qx3-opc-password"
KEY = "canary-Jb9-in-a-key-file"
SECRETS = (PASSWORD, OPC, KEY)


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seen(data: bytes) -> list[str]:
    """Return the secrets that stand in ``data``, also as UTF-16."""
    return [secret for secret in SECRETS if secret.encode() in data or secret.encode("utf-16-le") in data]


def with_a_server(line: Live, folder: Path) -> None:
    """Add an OPC UA device that wants a password and a key, and that nobody answers for."""
    for name, text in (("opc", OPC), ("key.pem", f"-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    whole = json.loads(line.config.read_text())
    whole["devices"].append(
        {
            "version": 1, "device": "press", "driver": "opcua", "url": f"opc.tcp://127.0.0.1:{free_port()}", "namespace": "urn:x",
            "username": "reader", "password": f"${{file:{folder / 'opc'}}}", "security": {"pins": ["ab" * 32]}, "tags": {"a": {"node": "s=A"}},
        }
    )  # fmt: skip
    whole["devices"].append(
        {
            "version": 1, "device": "safe", "driver": "modbus", "host": "127.0.0.1", "port": free_port(),
            "tls": {"ca": str(folder / "key.pem"), "cert": str(folder / "key.pem"), "key": str(folder / "key.pem")},
            "tags": {"a": {"register": "holding", "address": 0}},
        }
    )  # fmt: skip
    line.config.write_text(json.dumps(whole))


def test_no_secret_is_seen_anywhere(tmp_path: Path) -> None:
    """Logs (debug, JSON), argv, environment, status, read, check, bundle, buffer and what was published hold none of the secrets."""
    plc = Plc()
    environment = {key: value for key, value in os.environ.items() if key != "RUNTIME_DIRECTORY"} | {"PYTHONUNBUFFERED": "1"}
    places: dict[str, bytes] = {}
    try:
        with process(
            "simulators.broker", "--port", 0, "--ledger", tmp_path / "ledger", log=tmp_path / "b.log", environment=environment
        ) as broker:
            assert broker.stdout is not None
            line = Live(tmp_path, plc, int(broker.stdout.readline().strip().rpartition(":")[2]))
            line.environment = environment
            with_a_server(line, tmp_path)
            options = ["run", "-c", line.config, "--log-level", "debug", "--log-format", "json"]
            with process("edge_agent", *options, log=tmp_path / "agent.log", environment=environment) as agent:
                over = time.monotonic() + 90
                while b'"press"' not in places.get("status", b"") or b"link.down" not in (tmp_path / "agent.log").read_bytes():
                    assert time.monotonic() < over, (tmp_path / "agent.log").read_text()
                    places["status"] = said(line, "status", "-c", line.config, "--json")
                places["argv"] = Path(f"/proc/{agent.pid}/cmdline").read_bytes()
                places["environment"] = Path(f"/proc/{agent.pid}/environ").read_bytes()
                places["read"] = said(line, "read", "-c", line.config, "--json")
                places["check"] = said(line, "check", "-c", line.config, "--connect", "--json")
                places["doctor"] = said(line, "doctor", "-c", line.config, "-o", tmp_path / "bundle.zip")
            places["log"] = (tmp_path / "agent.log").read_bytes()
            places["published"] = published(tmp_path / "ledger")
    finally:
        plc.close()
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        places |= {f"bundle/{name}": bundle.read(name) for name in bundle.namelist()}
    places |= {f"buffer/{file.name}": file.read_bytes() for file in line.store.rglob("*") if file.is_file()}
    assert {name: seen(data) for name, data in places.items() if seen(data)} == {}
    assert b'"event"' in places["log"]  # they were filled at all
    assert all(places[name] for name in ("status", "argv", "environment", "read", "check", "published", "bundle/config/agent.yaml"))


def said(line: Live, *arguments: object) -> bytes:
    """Return all that a command prints."""
    command = [sys.executable, "-m", "edge_agent", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=line.environment, capture_output=True, timeout=110, check=False)
    assert b"Traceback" not in done.stdout + done.stderr, done
    return done.stdout + done.stderr


def published(ledger: Path) -> bytes:
    """Return what the broker was sent, without the CONNECT packets, where the broker's password belongs."""
    return b"\n".join(row for row in ledger.read_bytes().splitlines() if b'"password"' not in row)


def test_the_search_finds_a_secret_that_is_there() -> None:
    """A look that cannot fail proves nothing."""
    assert seen(f"password={OPC};".encode()) == [OPC]
    assert seen(KEY.encode("utf-16-le")) == [KEY]
