"""ThingsBoard IoT Gateway (Python): its OPC UA or Modbus connector, its SQLite storage, its MQTT client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Command, Job, NotInstalledError, Peer, Sample

VERSION = "3.8.5"
PACKAGES = (f"thingsboard-gateway=={VERSION}", "asyncua==1.1.5", "pymodbus==3.9.2", "pyopenssl", "service_identity")
"""The gateway itself, and what its two connectors install when they start for the first time."""
_FREE = "0:0,"
"""No limit to its rate."""


def install(home: Path) -> str:
    """Install it by pip into an environment of its own; return its version."""
    folder = home / "thingsboard"
    note = folder / ".installed"
    if not note.exists() or note.read_text() != str(PACKAGES):
        print(f"installing the ThingsBoard gateway {VERSION} (once, about a minute) ...", flush=True)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotInstalledError(f"{command[1:4]} failed: {done.stderr[-500:]}")
        note.write_text(str(PACKAGES))
    return VERSION


def write(job: Job, home: Path) -> Command:
    """Write tb_gateway.json and the connector's file; storage in SQLite, QoS 1, no limits to its rate, packs of up to 64 KiB."""
    folder = job.folder / "config"
    folder.mkdir(exist_ok=True)
    limits = dict.fromkeys(
        ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits", "deviceDpRateLimits"),
        _FREE,
    )
    kind = job.load.kind
    gateway = {
        "thingsboard": {
            "host": "127.0.0.1", "port": job.broker, "remoteShell": False, "remoteConfiguration": False, "qos": 1,
            "statistics": {"enable": False}, "deviceFiltering": {"enable": False}, "checkingDeviceActivity": {"checkDeviceInactivity": False},
            "maxPayloadSizeBytes": 65536, "minPackSendDelayMS": 50, "minPackSizeToSend": 500, "checkConnectorsConfigurationInSeconds": 3600,
            "security": {"type": "accessToken", "accessToken": "bench"}, "reportStrategy": {"type": "ON_RECEIVED"}, **limits,
        },
        "storage": {"type": "sqlite", "data_file_path": str(job.folder / "data") + "/", "max_read_records_count": 1000, "size_limit": 1024},
        "grpc": {"enabled": False},
        "connectors": [{"name": kind, "type": kind, "configuration": f"{kind}.json"}],
    }  # fmt: skip
    (folder / "tb_gateway.json").write_text(json.dumps(gateway, indent=1))
    (folder / "logs.json").write_text(json.dumps(_logs(job.folder / "gateway.log"), indent=1))
    connector = _opcua(job) if kind == "opcua" else _modbus(job)
    (folder / f"{kind}.json").write_text(json.dumps({"name": kind, "logLevel": "ERROR", **connector}, indent=1))
    return Command([str(home / "thingsboard" / "bin" / "thingsboard-gateway")], {"TB_GW_CONFIG_DIR": str(folder)})


def _logs(file: Path) -> dict[str, Any]:
    names = ("service", "database", "connector", "converter", "tb_connection", "storage", "extension", "statistics")
    return {
        "version": 1, "disable_existing_loggers": False,
        "formatters": {"LogFormatter": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "formatter": "LogFormatter", "filename": str(file)}},
        "loggers": {name: {"handlers": ["file"], "level": "ERROR", "propagate": False} for name in names},
        "root": {"level": "ERROR", "handlers": ["file"]},
    }  # fmt: skip


def _opcua(job: Job) -> dict[str, Any]:
    nodes = [
        {"key": tag, "type": "identifier", "value": f"${{ns=1;s={tag}}}", "timestampLocation": "sourceTimestamp"}
        for tag in job.load.names
    ]
    return {
        "server": {
            "url": f"opc.tcp://127.0.0.1:{job.source}", "timeoutInMillis": 5000, "scanPeriodInMillis": 3600000,
            "pollPeriodInMillis": 3600000, "enableSubscriptions": True, "subCheckPeriodInMillis": 100, "subDataMaxBatchSize": 1000,
            "subDataMinBatchCreationTimeMs": 100, "subscriptionProcessBatchSize": 2000, "sessionTimeoutInMillis": 120000,
            "showMap": False, "security": "None", "identity": {"type": "anonymous"},
        },
        "mapping": [{
            "deviceNodeSource": "identifier", "deviceNodePattern": "ns=0;i=85",
            "deviceInfo": {
                "deviceNameExpression": "line", "deviceNameExpressionSource": "constant",
                "deviceProfileExpression": "default", "deviceProfileExpressionSource": "constant",
            },
            "attributes": [], "timeseries": nodes, "rpc_methods": [], "attributes_updates": [],
        }],
    }  # fmt: skip


def _modbus(job: Job) -> dict[str, Any]:
    """Write one range, which is less than half as dear as a tag for each register."""
    values = {"tag": "r${address}", "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": f"0-{job.load.tags - 1}"}
    slave = {
        "host": "127.0.0.1", "port": job.source, "type": "tcp", "method": "socket", "unitId": 1, "deviceName": "line",
        "deviceType": "default", "timeout": 5, "byteOrder": "BIG", "wordOrder": "BIG", "retries": 3, "retryOnEmpty": True,
        "retryOnInvalid": True, "pollPeriod": job.period_ms, "connectAttemptTimeMs": 500, "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 30000, "reportStrategy": {"type": "ON_RECEIVED"},
        "attributes": [], "timeseries": [values], "attributeUpdates": [], "rpc": [],
    }  # fmt: skip
    return {"master": {"slaves": [slave]}}


def parse(topic: str, payload: bytes) -> list[Sample]:
    """Take a message of its gateway API apart: ``{device: [{"ts": ms, "values": {tag: value}}]}``."""
    if topic != "v1/gateway/telemetry":
        return []
    found = json.loads(payload)
    packs = (pack for device in found.values() for pack in device)
    return [(tag, value, round(pack["ts"] * 1000)) for pack in packs for tag, value in pack["values"].items()]


def answer(topic: str, _: bytes) -> tuple[str, bytes] | None:
    """Answer as a ThingsBoard server without limits what the gateway asks for before it sends anything: the limits of its session."""
    asked = "v1/devices/me/rpc/request/"
    if not topic.startswith(asked):
        return None
    limits = {"maxPayloadSize": 65536, "maxInflightMessages": 100, "rateLimits": {}, "gatewayRateLimits": {}}
    return f"v1/devices/me/rpc/response/{topic[len(asked) :]}", json.dumps(limits).encode()


def declared(log: str) -> str | None:
    """Return what it says about data that it could not save or send."""
    found = re.findall(r"[^\n]*(?:cannot be saved|will be lost|lost|dropped)[^\n]*", log)
    return f"log: {found[-1].strip()}" if found else None


PEER = Peer("thingsboard", "ThingsBoard gateway", "SQLite", install, write, parse, declared, answer)
