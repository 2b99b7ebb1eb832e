"""The processes of the demo: each a program of its own, on a free port, with its log in the demo's folder."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import time
from pathlib import Path
from typing import Any

from edge_agent.agent.clock import CLOCK_FILE
from edge_agent.cli.demo.broker import broker_command
from edge_agent.cli.demo.cast import configured, players
from edge_agent.cli.demo.fitting import change
from edge_agent.cli.demo.process import Process
from edge_agent.config.load import load
from edge_agent.model.errors import ConfigError

_REASON = re.compile(r"""reason=(?:['"](.*?)['"](?: \w+=|$)|(\S+))""")


class Stage:
    """Everything that runs in one demo."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        scenario: Path,
        script: dict[str, Any],
        speed: float,
        *,
        faults: bool,
        broker: str | None,
        workers: int = 0,
    ) -> None:
        """Prepare ``script``, which is what the file ``scenario`` says; raises ConfigError when no configuration fits it."""
        self.root, self.folder, self.scenario, self.speed, self.faults = root, folder, scenario, speed, faults
        self.external_broker = broker
        self.script = script
        try:
            self.cast = players(script)
            self.config = configured(root, folder / "config", script)
            change(
                self.config / "agent.yaml",
                {"web": {"listen": "127.0.0.1:${PAGE_PORT:-0}"}} | ({"workers": workers} if workers else {}),
            )
            load(self.config)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise ConfigError(f"{scenario}: no configuration fits this scenario:\n{error}") from error
        self.clock_file = folder / "clock.json"
        self.report_file = folder / "report.json"
        self.environment = os.environ | {"PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
        self.started: int | None = None
        self.processes: dict[str, Process] = {}
        self.ports: dict[str, int] = {}

    @property
    def length(self) -> float:
        """The scenario's length in plant seconds."""
        return float(self.script["length"])

    def plant_time(self) -> float:
        """Return plant seconds since the scenario's epoch."""
        return 0.0 if self.started is None else (time.monotonic_ns() - self.started) / 1e9 * self.speed

    def _write_clock(self) -> None:
        content = {"epoch": str(self.script["epoch"]), "speed": self.speed, "started": self.started}
        beside = self.clock_file.with_suffix(".new")
        beside.write_text(json.dumps(content), encoding="utf-8")
        beside.replace(self.clock_file)

    async def open(self) -> None:
        """Start everything but the plant's clock: t=0 stands still until `begin`."""
        self._write_clock()
        for name in ("broker", "page", "plc_link", *(player.name for player in self.cast)):
            self.ports[name] = _free_port()
        if self.external_broker is None:
            await self._spawn("broker", broker_command(self.folder, self.ports["broker"]))
        self.environment |= {
            "MQTT_HOST": self.broker.rpartition(":")[0],
            "MQTT_PORT": self.broker.rpartition(":")[2],
            **{player.port: str(self.ports["plc_link" if player.linked else player.name]) for player in self.cast},
            "PAGE_PORT": str(self.ports["page"]),
            "EDGE_AGENT_BUFFER": str(self.folder / "buffer"),
            CLOCK_FILE: str(self.clock_file),
        }
        await asyncio.gather(
            self._spawn("mom", self._mom(), ready=False),
            *(self._spawn(player.name, ["-m", *player.program, *self._common(player.name)]) for player in self.cast),
            *(self._spawn("plc_link", self._proxy(player.name)) for player in self.cast if player.linked),
            *([self._spawn("mes", self._mes())] if self.script.get("mes") else []),
        )
        # Last: a device that does not answer yet would be a declared gap, and rightly so.
        await self._spawn("agent", ["-m", "edge_agent", "run", "-c", str(self.config)], ready=False)

    def runs(self, name: str) -> bool:
        """Say whether the process called ``name`` runs; True for one that is not ours."""
        return name not in self.processes or self.processes[name].running

    def broker_trouble(self) -> str | None:
        """Return why the agent has no link to the broker, in the words of its log; None while it has one, or did not try."""
        if "agent" not in self.processes:
            return None
        said = [line for line in self.processes["agent"].tail(200).splitlines() if "kind=mqtt" in line and " link." in line]
        reason = _REASON.search(said[-1]) if said and "link.up" not in said[-1] else None
        return (reason[1] or reason[2]) if reason else None

    @property
    def broker(self) -> str:
        """host:port of the broker in use."""
        return self.external_broker or f"127.0.0.1:{self.ports['broker']}"

    @property
    def page(self) -> str:
        """The address of the agent's status page."""
        return f"http://127.0.0.1:{self.ports['page']}/"

    def _common(self, name: str) -> list[str]:
        arguments = ["--scenario", str(self.scenario), "--port", str(self.ports[name]), "--clock", str(self.clock_file)]
        arguments += ["--ledger", str(self.folder / f"{name}.ledger")]
        return [*arguments, "--faults"] if self.faults else arguments

    def _proxy(self, device: str) -> list[str]:
        arguments = [
            "-m",
            "simulators.faults",
            "--listen",
            str(self.ports["plc_link"]),
            "--target",
            f"127.0.0.1:{self.ports[device]}",
        ]
        arguments += ["--clock", str(self.clock_file), "--ledger", str(self.folder / "plc_link.ledger")]
        for begin, end in self.windows("link_cuts"):
            arguments += ["--cut", f"{begin:g}-{end:g}"]
        return arguments

    def _mes(self) -> list[str]:
        arguments = ["-m", "simulators.plant.mes", "--scenario", str(self.scenario), "--broker", self.broker]
        return [*arguments, "--clock", str(self.clock_file), "--ledger", str(self.folder / "mes.ledger")]

    def _mom(self) -> list[str]:
        arguments = [
            "-m",
            "simulators.mom",
            "--scenario",
            str(self.scenario),
            "--broker",
            self.broker,
            "--clock",
            str(self.clock_file),
        ]
        arguments += ["--report", str(self.report_file)]
        for player in self.cast:
            arguments += ["--ledger", str(self.folder / f"{player.name}.ledger")]
        return [*arguments, "--faults"] if self.faults else arguments

    def windows(self, name: str) -> list[tuple[float, float]]:
        """Return the scenario's fault windows called ``name`` in plant seconds; none when faults are not wanted."""
        listed = (self.script.get("faults") or {}).get(name) or [] if self.faults else []
        return [(float(begin), float(end)) for begin, end in listed]

    async def _spawn(self, name: str, arguments: list[str], *, ready: bool = True) -> None:
        process = Process(name, arguments, self.folder, dict(self.environment))
        self.processes[name] = process
        await process.start()
        if ready:
            await process.ready()

    def begin(self) -> None:
        """Let the plant run from now on."""
        self.started = time.monotonic_ns() + 50_000_000
        self._write_clock()

    async def close(self) -> None:
        """End whatever still runs, the agent first."""
        first = [process for name, process in self.processes.items() if name == "agent"]
        for process in first:
            await process.end(15, 5.0)
        await asyncio.gather(*(process.end(15, 5.0) for process in self.processes.values() if process not in first))


def _free_port() -> int:
    """Return a port below the range that the kernel gives to outgoing connections, so that none of those takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - any free one
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
