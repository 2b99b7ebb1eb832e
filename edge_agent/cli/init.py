"""``edge-agent init``: the first configuration, from a few answers. Writes new files only, and only what `check` finds no mistake in."""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.cli.samples import agent_file, device_file, unit_file
from edge_agent.cli.schema import schema
from edge_agent.cli.words import plain
from edge_agent.config.load import InvalidConfigError, load
from edge_agent.model.errors import EdgeAgentError

SCHEMAS = ("agent", "device", "unit", "test")
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Wish(NamedTuple):
    """What the options say; None is asked for, or takes its default where nobody can be asked."""

    folder: Path
    agent: str | None = None
    site: str | None = None
    unit: str | None = None
    broker: str | None = None
    ca: str | None = None
    username: str | None = None
    devices: tuple[str, ...] | None = None
    yes: bool = False


def init(wish: Wish) -> list[str]:
    """Write the files and return what they are called. Raises EdgeAgentError when one of them is there already, or an answer cannot be right."""
    if (wish.folder / "agent.yaml").exists():
        raise EdgeAgentError(
            f"{wish.folder} holds a configuration already, and nothing was changed; edit it, or name another folder "
            f"(a new device: edge-agent browse URL --add {wish.folder}/devices/NAME.yaml, or edge-agent tags import)"
        )
    files = _files(wish, _answers(wish))
    there = [name for name in files if (wish.folder / name).exists() and not name.startswith("schema/")]
    if there:
        raise EdgeAgentError(f"nothing was written: {', '.join(there)} in {wish.folder} is there already")
    _prove(files)
    return _write(wish.folder, files)


def _answers(wish: Wish) -> dict[str, Any]:
    """Return everything that the files need; what the options leave open is asked on a terminal."""
    ask = _asked if sys.stdin.isatty() and not wish.yes else _taken
    host = _NAME.sub("-", socket.gethostname().partition(".")[0]).strip("-") or "gw1"
    told: dict[str, Any] = {
        "agent": wish.agent or ask("Name of this gateway, unique in the plant", host),
        "site": wish.site or ask("Where it stands: enterprise/site", "acme/plant1"),
        "unit": wish.unit or ask("The machine it collects from: area/line/machine", "packaging/line1/filler"),
        "broker": wish.broker or ask("MQTT broker (mqtts://host, wss://host, or mqtt://host for a test)", "mqtts://broker.example:8883"),
    }  # fmt: skip
    secure = str(told["broker"]).startswith(("mqtts:", "wss:"))
    told["ca"] = (wish.ca or ask("Who signed the broker's certificate: a PEM file, or system", "system")) if secure else None
    told["username"] = wish.username if wish.username is not None else ask("User at the broker (empty: none)", "") or None
    devices = wish.devices
    if devices is None:
        said = ask("A device to begin with: modbus:HOST[:PORT], opcua:HOST[:PORT] (empty: none)", "")
        devices = (said,) if said else ()
    told["devices"] = [_device(text) for text in devices]
    return told


def _asked(question: str, default: str) -> str:
    print(f"{question}{f' [{default}]' if default else ''}: ", end="", flush=True, file=sys.stderr)
    return sys.stdin.readline().strip() or default


def _taken(_: str, default: str) -> str:
    return default


def _device(text: str) -> tuple[str, str, str, int]:
    """Return name, driver, host and port of ``[NAME=]modbus:HOST[:PORT]`` or ``[NAME=]opcua:HOST[:PORT]``."""
    match = re.fullmatch(
        r"(?:([A-Za-z0-9_-]+)=)?(modbus|opcua|opc\.tcp):(?://)?(\[[0-9a-fA-F:]+\]|[^\s:/]+)(?::(\d{1,5}))?/?", text
    )
    if match is None:
        raise EdgeAgentError(
            f"{plain(text)!r} is no device; write modbus:10.0.0.6, opcua:plc1.line3:4840, or capper=modbus:10.0.0.6"
        )
    name, driver, host, port = match.groups()
    driver = "modbus" if driver == "modbus" else "opcua"
    return name or ("plc1" if driver == "opcua" else "device1"), driver, host, int(port or (502 if driver == "modbus" else 4840))


def _files(wish: Wish, told: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of every file by its name in the folder."""
    *area, unit = [part for part in str(told["unit"]).split("/") if part] or ["filler"]
    site = [part for part in str(told["site"]).split("/") if part]
    state = "/var/lib/edge-agent" if wish.folder == DEFAULT_CONFIG else str((wish.folder / "var").absolute())
    files = {"agent.yaml": agent_file(told, site, state)}
    names: set[str] = set()
    for name, driver, host, port in told["devices"]:
        if name in names:
            raise EdgeAgentError(f"two devices are called {name}; give them names: capper=modbus:10.0.0.6")
        names.add(name)
        files[f"devices/{name}.yaml"] = device_file(name, driver, host, port)
    if told["devices"]:
        name, driver, _, _ = told["devices"][0]
        files[f"units/{unit}.yaml"] = unit_file(unit, [*site, *area], name, driver)
    return files | {f"schema/{what}.schema.json": schema(what) for what in SCHEMAS}


def _prove(files: Mapping[str, str]) -> None:
    """Load the files from a folder of their own before any is written where it shall stay."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            load(Path(folder))
        except InvalidConfigError as error:
            told = "\n".join(f"{problem.message}; {problem.remedy}" for problem in error.problems)
            raise EdgeAgentError(f"nothing was written, for an answer cannot be right:\n{told}") from error


def _write(folder: Path, files: Mapping[str, str]) -> list[str]:
    written = []
    try:
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if name.startswith("schema/") and file.exists():
                continue
            with file.open("x", encoding="utf-8") as new:  # x: whatever came in between stays as it is
                new.write(text)
            written.append(name)
        (folder / "devices").mkdir(exist_ok=True)
        (folder / "units").mkdir(exist_ok=True)
    except OSError as error:
        raise EdgeAgentError(f"{error.filename}: {error.strerror}; run it with sudo, or name another folder") from error
    return written


def next_steps(folder: Path) -> str:
    """Return what a person does now."""
    where = "" if folder == DEFAULT_CONFIG else f" -c {folder}"
    config = load(folder)
    lines = [f"  edge-agent check{where}                 # every mistake at once, with its remedy"]
    for device in config.devices:
        if device.driver == "opcua":
            lines += [
                f"  edge-agent trust {device.device}{where}            # compare the fingerprint, then trust the server",
                f"  edge-agent browse {folder}/devices/{device.device}.yaml 'Line1/**' --add {folder}/devices/{device.device}.yaml",
            ]
        else:
            lines.append(f"  edge-agent peek {device.host} 40011 --expect 21.5   # find out what a register is")
    if config.devices:
        lines.append(f"  edge-agent read{where} --follow        # the values, live")
    service = (
        "systemctl enable --now edge-agent" if folder == DEFAULT_CONFIG and shutil.which("systemctl") else f"edge-agent run{where}"
    )
    return "\n".join([*lines, f"  {service}"])
