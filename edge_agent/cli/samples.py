"""The files that `init` writes: few lines, each with the comment that its reader needs next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.config.tagfile import scalar

_LINE = "# yaml-language-server: $schema={}schema/{}.schema.json\n"


def agent_file(told: Mapping[str, Any], site: Sequence[str], state: str) -> str:
    """Return agent.yaml; ``state`` is the folder of buffer and keys."""
    broker = str(told["broker"])
    mqtt = [f"  broker: {scalar(broker)}"]
    if told["ca"] is not None:
        mqtt.append(f"  tls: {{ca: {scalar(str(told['ca']))}}}")
    else:
        mqtt.append("  allow_insecure: true                # plain TCP: for a test only; else mqtts:// and tls: {ca: system}")
    if told["username"]:
        mqtt.append(f"  username: {scalar(str(told['username']))}")
        mqtt.append("  password_file: /run/credentials/edge-agent.service/mqtt_password   # LoadCredential= of edge-agent.service")
    return (
        _LINE.format("./", "agent")
        + f"""\
version: 1
agent: {scalar(str(told["agent"]))}
site: [{", ".join(scalar(part) for part in site)}]
time_zone: UTC                          # of shift times: Europe/Berlin

mqtt:
"""
        + "\n".join(mqtt)
        + f"""

buffer:
  path: ${{EDGE_AGENT_BUFFER:-{state}/buffer}}
pki: {scalar(f"{state}/pki")}

# shifts:
#   M: {{start: "06:00", end: "14:00"}}
"""
    )


def device_file(name: str, driver: str, host: str, port: int) -> str:
    """Return a device's file with one tag to begin with."""
    head = _LINE.format("../", "device") + f"version: 1\ndevice: {scalar(name)}\ndriver: {driver}\n"
    if driver == "opcua":
        return (
            head
            + f"""\
url: {scalar(f"opc.tcp://{host}:{port}")}
sampling: 100ms
publishing: 100ms
tags:                                   # edge-agent browse THIS_FILE 'Line1/**' --add THIS_FILE adds what the server has
  server_state: {{node: "ns=0;i=2259", type: int32}}   # 0 = running
"""
        )
    return (
        head
        + f"""\
host: {scalar(host.strip("[]"))}
port: {port}
unit_id: 1                              # many TCP devices want 1 or 255
poll: 500ms
word_order: big                         # of 32-bit values: big (ABCD) or little (CDAB); edge-agent peek tells
tags:                                   # addresses count from 0; as the vendor prints them: ref: 40011
  good_count: {{register: holding, address: 0, type: uint32}}
  speed:      {{register: holding, address: 2, type: uint16, uom: /min}}
"""
    )


def unit_file(unit: str, path: Sequence[str], device: str, driver: str) -> str:
    """Return a work unit's file that uses the device's first tag."""
    head = _LINE.format("../", "unit") + f"version: 1\nunit: {scalar(unit)}\npath: [{', '.join(scalar(part) for part in path)}]\n"
    if driver == "opcua":
        return (
            head
            + f"""\
telemetry: {{tags: [{device}.server_state], publish: 1s}}

# counters:
#   good: {{tag: {device}.good_count, role: good, wraps: uint32, max_rate: 3/s}}
# state: {{tag: {device}.state, model: packml}}
"""
        )
    return (
        head
        + f"""\
counters:
  good: {{tag: {device}.good_count, role: good, wraps: uint32, max_rate: 3/s}}   # max_rate: more than the machine can make
telemetry: {{tags: [{device}.speed], publish: 1s}}

# state: {{tag: {device}.state, model: packml}}
"""
    )
