"""Telegraf (Go): inputs.opcua_listener or inputs.modbus to outputs.mqtt, built with these plugins alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from benchmarks.peers.job import Command, Job, NotInstalledError, Peer, Sample

MODULE, VERSION = "github.com/influxdata/telegraf", "v1.37.2"
_PLUGINS = "inputs.opcua_listener,inputs.modbus,outputs.mqtt,serializers.influx"
_LINE = re.compile(r"^(\w+),?\S* (.*) (\d+)$")
_FIELD = re.compile(r"\b([ifr]\d+)=(-?[\d.eE+]+)[iu]?")


def install(home: Path) -> str:
    """Build it from the Go module proxy, as its documentation describes a custom build (minutes); return its version."""
    binary = home / "telegraf"
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            raise NotInstalledError("go is not installed (sudo apt-get install golang)")
        home.mkdir(parents=True, exist_ok=True)
        print(f"building Telegraf {VERSION} (once, about six minutes) ...", flush=True)
        fetched = subprocess.run(
            [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"], capture_output=True, text=True, check=False, cwd=home
        )
        if fetched.returncode:
            raise NotInstalledError(f"go cannot fetch {MODULE}@{VERSION}: {fetched.stdout[-300:]} {fetched.stderr[-300:]}".strip())
        sources = json.loads(fetched.stdout)["Dir"]
        command = [go, "build", "-tags", f"custom,{_PLUGINS}", "-mod=mod", "-ldflags", "-s -w", "-o", str(binary), "./cmd/telegraf"]
        built = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
        if built.returncode:
            raise NotInstalledError(f"go cannot build {MODULE}@{VERSION}: {built.stderr[-500:]}")
    return VERSION


def write(job: Job, home: Path, *, disk: bool) -> Command:
    """Write telegraf.conf: batches, QoS 1, flushed every 100 ms; with ``disk`` each metric goes through a log on disk."""
    buffer = f'  buffer_strategy = "disk"\n  buffer_directory = "{job.folder / "buffer"}"\n' if disk else ""
    text = (
        f'[agent]\n  interval = "{job.period_ms}ms"\n  flush_interval = "100ms"\n  precision = "1us"\n  metric_batch_size = 1000\n'
        f"  metric_buffer_limit = 1000000\n  omit_hostname = true\n{buffer}"
        f'[[outputs.mqtt]]\n  servers = ["tcp://127.0.0.1:{job.broker}"]\n  topic = "telegraf"\n  layout = "batch"\n  qos = 1\n'
        '  keep_alive = 30\n  client_id = "telegraf"\n  startup_error_behavior = "retry"\n  data_format = "influx"\n'
    )
    place = job.folder / "telegraf.conf"
    place.write_text(text + (_opcua(job) if job.load.kind == "opcua" else _modbus(job)))
    return Command([str(home / "telegraf"), "--config", str(place)])


def _opcua(job: Job) -> str:
    nodes = "".join(
        f'    {{name = "{tag}", namespace = "1", identifier_type = "s", identifier = "{tag}"}},\n' for tag in job.load.names
    )
    return (
        f'[[inputs.opcua_listener]]\n  name = "o"\n  endpoint = "opc.tcp://127.0.0.1:{job.source}"\n  subscription_interval = "100ms"\n'
        '  connect_fail_behavior = "retry"\n  security_policy = "None"\n  security_mode = "None"\n  auth_method = "Anonymous"\n'
        f'  timestamp = "source"\n  nodes = [\n{nodes}  ]\n'
    )


def _modbus(job: Job) -> str:
    fields = "".join(f'    {{address = {tag[1:]}, name = "{tag}", type = "UINT16"}},\n' for tag in job.load.names)
    return (
        f'[[inputs.modbus]]\n  name = "m"\n  controller = "tcp://127.0.0.1:{job.source}"\n  timeout = "1s"\n'
        '  configuration_type = "request"\n  [[inputs.modbus.request]]\n    slave_id = 1\n    register = "holding"\n'
        f"    fields = [\n{fields}    ]\n"
    )


def parse(_: str, payload: bytes) -> list[Sample]:
    """Take lines of the line protocol apart: measurement,tags fields nanoseconds."""
    out: list[Sample] = []
    for line in payload.decode().splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        time = int(found[3]) // 1000
        out += [(name, float(value) if name[0] == "f" else int(value), time) for name, value in _FIELD.findall(found[2])]
    return out


def declared(log: str) -> str | None:
    """Return its warnings of dropped metrics."""
    found = re.findall(r"[^\n]*(?:dropped|overflow)[^\n]*", log)
    return f"log: {found[-1].strip()}" if found else None


MEMORY = Peer("telegraf", "Telegraf", "memory", install, partial(write, disk=False), parse, declared)
DISK = Peer("telegraf-disk", "Telegraf, disk buffer", "disk", install, partial(write, disk=True), parse, declared)
