"""Node-RED (JavaScript) with node-red-contrib-opcua or node-red-contrib-modbus, a function that makes batches, and its MQTT node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Command, Job, NotInstalledError, Peer, Sample, chunks

VERSION = "4.1.1"
PACKAGE: dict[str, Any] = {
    "name": "peer", "private": True,
    "dependencies": {
        "node-red": VERSION, "node-red-contrib-opcua": "0.2.354", "node-red-contrib-modbus": "5.60.2",
        "@openp4nr/modbus-serial": "npm:modbus-serial@8.0.23",
    },
    "overrides": {"@openp4nr/modbus-serial": "$@openp4nr/modbus-serial"},
}  # fmt: skip
"""The Modbus nodes name a copy of modbus-serial that no registry has: the original stands in for it."""
_MOST = 125

_FLUSH = """\
context.set("rows", []);
context.set("timer", setInterval(() => {
    const rows = context.get("rows");
    if (rows.length) { context.set("rows", []); node.send({payload: JSON.stringify(rows)}); }
}, 100));
"""
_COLLECT = """\
const found = msg.payload, value = found.value.value;
context.get("rows").push([msg.topic.slice(7), Array.isArray(value) ? value[0] * 4294967296 + (value[1] >>> 0) : value,
                          found.sourceTimestamp.getTime()]);
"""
"""A topic is ``ns=1;s=TAG``; an Int64 comes as two halves."""
_REGISTERS = """\
msg.payload = JSON.stringify({first: FIRST, time: Date.now(), values: msg.payload});
return msg;
"""
_SETTINGS = """\
module.exports = {{
    userDir: {folder}, flowFile: "flows.json", httpAdminRoot: false, httpNodeRoot: false, uiHost: "127.0.0.1", uiPort: {port},
    credentialSecret: false, mqttReconnectTime: 1000, diagnostics: {{enabled: false}}, telemetry: {{enabled: false}},
    logging: {{console: {{level: "warn", metrics: false, audit: false}}}},
    editorTheme: {{projects: {{enabled: false}}}}
}};
"""


def install(home: Path) -> str:
    """Install it by npm; return its version."""
    folder = home / "nodered"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalledError("npm or node is not installed (sudo apt-get install npm)")
    wanted, note = json.dumps(PACKAGE), folder / "node_modules" / ".installed"
    if not note.exists() or note.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(wanted)
        print(f"installing Node-RED {VERSION} (once, about two minutes) ...", flush=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev", "--loglevel=error"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalledError(f"npm cannot install it: {done.stderr[-500:]}")
        note.write_text(wanted)
    return f"{VERSION}, OPC UA nodes {PACKAGE['dependencies']['node-red-contrib-opcua']}, Modbus nodes {PACKAGE['dependencies']['node-red-contrib-modbus']}"


def write(job: Job, home: Path) -> Command:
    """Write settings.js and flows.json."""
    flows: list[dict[str, Any]] = [
        {"id": "tab", "type": "tab", "label": "collect"},
        {
            "id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(job.broker), "clientid": "nodered",
            "autoConnect": True, "usetls": False, "protocolVersion": "4", "keepalive": "30", "cleansession": False,
        },
        _node("out", "mqtt out", [], broker="broker", topic="nodered", qos="1", retain="false"),
    ]  # fmt: skip
    flows += _opcua(job) if job.load.kind == "opcua" else _modbus(job)
    (job.folder / "flows.json").write_text(json.dumps(flows, indent=1))
    settings = job.folder / "settings.js"
    settings.write_text(_SETTINGS.format(folder=json.dumps(str(job.folder)), port=0))
    own = home / "nodered" / "home"
    own.mkdir(exist_ok=True)
    program = home / "nodered" / "node_modules" / "node-red" / "red.js"
    return Command(["node", str(program), "--settings", str(settings)], {"HOME": str(own), "XDG_CONFIG_HOME": str(own)})


def _node(name: str, kind: str, to: list[str], **more: Any) -> dict[str, Any]:
    """Return a node; one without a place would be taken for a configuration."""
    return {"id": name, "type": kind, "z": "tab", "name": name, "x": 100, "y": 100, "wires": [to] if to else [], **more}


def _opcua(job: Job) -> list[dict[str, Any]]:
    items = json.dumps([{"nodeId": f"ns=1;s={tag}"} for tag in job.load.names])
    return [
        {"id": "endpoint", "type": "OpcUa-Endpoint", "endpoint": f"opc.tcp://127.0.0.1:{job.source}", "secpol": "None", "secmode": "None", "none": True},
        _node(
            "start", "inject", ["client"], once=True, onceDelay=1, repeat="", topic="multiple",
            props=[{"p": "payload", "v": items, "vt": "json"}, {"p": "topic", "vt": "str"}],
        ),
        {
            **_node("client", "OpcUa-Client", [], endpoint="endpoint", action="subscribe", time="100", timeUnit="ms", certificate="n"),
            "wires": [["collect"], [], []], "useTransport": True, "maxChunkCount": 100, "maxMessageSize": 1 << 24,
            "receiveBufferSize": 65535, "sendBufferSize": 65535,
        },
        _node("collect", "function", ["out"], func="if (msg.payload && msg.payload.value) {\n" + _COLLECT + "}\n", outputs=1, initialize=_FLUSH),
    ]  # fmt: skip


def _modbus(job: Job) -> list[dict[str, Any]]:
    flows: list[dict[str, Any]] = [
        {
            "id": "device", "type": "modbus-client", "clienttype": "tcp", "tcpHost": "127.0.0.1", "tcpPort": str(job.source),
            "tcpType": "DEFAULT", "unit_id": "1", "bufferCommands": True, "parallelUnitIdsAllowed": True, "commandDelay": "1",
            "clientTimeout": "1000", "reconnectOnTimeout": True, "reconnectTimeout": "2000", "showLogs": False, "showWarnings": False,
        },
    ]  # fmt: skip
    for first, count in chunks(0, job.load.tags, _MOST):
        read = _node(
            f"read{first}", "modbus-read", [], server="device", unitid="1", dataType="HoldingRegister", adr=str(first),
            quantity=str(count), rate=str(job.period_ms), rateUnit="ms", showWarnings=False,
        )  # fmt: skip
        read["wires"] = [[f"to{first}"], []]
        flows += [read, _node(f"to{first}", "function", ["out"], func=_REGISTERS.replace("FIRST", str(first)), outputs=1)]
    return flows


def parse(_: str, payload: bytes) -> list[Sample]:
    """Take a batch apart: rows of tag, value and ms, or the registers of one read."""
    found = json.loads(payload)
    if isinstance(found, list):
        return [(tag, value, time * 1000) for tag, value, time in found]
    return [(f"r{found['first'] + place}", value, found["time"] * 1000) for place, value in enumerate(found["values"])]


def declared(log: str) -> str | None:
    """Return what it says about messages that it could not send."""
    found = re.findall(r"[^\n]*(?:lost message|dropped|discard|overflow)[^\n]*", log, re.IGNORECASE)
    return f"log: {found[-1].strip()}" if found else None


PEER = Peer("node-red", "Node-RED", "none", install, write, parse, declared)
