"""What is measured: sources, tags and rates, and the configuration that an agent gets for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.stage import tags_of

URI = "urn:edge-agent:bench"
_SHORT = 8
"""Items that stand in one line of a configuration."""


@dataclass(frozen=True)
class Load:
    """One source and how the agent reads it. ``rate`` = samples of each tag in a second; ``changing`` percent of them are new at each."""

    kind: Literal["opcua", "modbus"]
    tags: int
    rate: float
    polled: bool = False
    changing: int = 100
    secure: bool = False
    alternating: bool = False

    @property
    def program(self) -> list[str]:
        """The command line of its source."""
        if self.kind == "modbus":
            return ["benchmarks.source_modbus", "--changing", str(self.changing)]
        words = ["benchmarks.source_opcua", "--tags", str(self.tags), "--rate", str(0 if self.polled else self.rate)]
        words += ["--polled", "--changing", str(self.changing)] if self.polled else []
        return words + (["--secure"] if self.secure else [])

    @property
    def names(self) -> list[str]:
        """Its tags: registers, or half whole numbers and half floating ones."""
        if self.kind == "modbus":
            return [f"r{number}" for number in range(self.tags)]
        if self.alternating:
            return [f"{'if'[number % 2]}{number}" for number in range(self.tags)]
        half = self.tags // 2
        return list(tags_of([("i", self.tags - half), ("f", half)]))

    @property
    def per_second(self) -> float:
        """Samples that are to arrive in a second."""
        return self.tags * self.rate * self.changing / 100

    def device(self, name: str, ready: dict[str, Any]) -> dict[str, Any]:
        """Return the device's configuration."""
        period = f"{round(1000 / self.rate) if self.rate else 1000}ms"
        if self.kind == "modbus":
            tags: dict[str, Any] = {tag: {"register": "holding", "address": int(tag[1:]), "type": "uint16"} for tag in self.names}
            own = {"driver": "modbus", "host": "127.0.0.1", "port": ready["port"], "poll": period}
        else:
            kinds = {"i": "int64", "f": "float64"}
            tags = {tag: {"node": f"s={tag}", "type": kinds[tag[0]]} for tag in self.names}
            own = {"driver": "opcua", "url": f"opc.tcp://127.0.0.1:{ready['port']}", "namespace": URI, "sampling": period}
            own |= {"publishing": "100ms"} if not self.polled else {}
            own |= {"security": {"pins": [ready["thumbprint"]]}} if self.secure else {"allow_insecure": True}
        return {"version": 1, "device": name, **own, "tags": tags}


@dataclass(frozen=True)
class Workload:
    """One line of the table. ``target``: CPU microseconds a sample on the reference machine (None: no such target).

    ``per`` says of what the microseconds are: of the samples delivered, or of the tags polled. ``counters`` of the first source's tags count parts.
    """

    key: str
    title: str
    loads: tuple[Load, ...]
    target: float | None = None
    flush: str = "100ms"
    per: Literal["sample", "poll"] = "sample"
    counters: int = 0
    rss: float | None = None
    workers: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Samples delivered in a second."""
        return sum(load.per_second for load in self.loads)

    @property
    def looked_at(self) -> float:
        """Values looked at in a second, new or not."""
        return sum(load.tags * load.rate for load in self.loads)

    def small(self, tags: int = 40) -> Workload:
        """Return the same with few tags, to see that nothing is lost."""
        loads = tuple(
            replace(load, tags=min(load.tags, tags), rate=max(load.rate, 5.0) if load.rate else 0.0) for load in self.loads
        )
        return replace(self, loads=loads, counters=min(self.counters, 4))

    def write(self, folder: Path, broker: int, ready: list[dict[str, Any]]) -> Path:
        """Write the agent's configuration for these running sources, in files as people have them; return its folder."""
        config = folder / "config"
        (config / "devices").mkdir(parents=True)
        (config / "units").mkdir()
        devices = [load.device(f"{load.kind}{place}", one) for place, (load, one) in enumerate(zip(self.loads, ready, strict=True))]
        agent = {
            "version": 1, "agent": "bench", "site": ["bench", "plant"], "workers": self.workers,
            "mqtt": {"broker": f"mqtt://127.0.0.1:{broker}", "allow_insecure": True, "root": "edge", **self.extra.get("mqtt", {})},
            "buffer": {"path": str(folder / "buffer"), **self.extra.get("buffer", {})},
        }  # fmt: skip
        (config / "agent.yaml").write_text(yaml_of(agent))
        for device in devices:
            (config / "devices" / f"{device['device']}.yaml").write_text(yaml_of(device))
        (config / "units" / "line.yaml").write_text(yaml_of(self._unit(devices)))
        return config

    def _unit(self, devices: list[dict[str, Any]]) -> dict[str, Any]:
        sampled = [f"{device['device']}.{tag}" for device in devices for tag in device["tags"]]
        unit: dict[str, Any] = {"version": 1, "unit": "line", "path": ["bench", "plant", "area", "line"]}
        unit["telemetry"] = {"tags": sampled, "publish": self.flush}
        if self.counters:
            counted = [f"{devices[0]['device']}.{tag}" for tag in list(devices[0]["tags"])[: self.counters]]
            unit["counters"] = {
                f"c{place}": {"tag": tag, "role": "total", "wraps": "never", "max_rate": "1000/s"}
                for place, tag in enumerate(counted)
            }
        return unit


def yaml_of(value: dict[str, Any], indent: str = "") -> str:
    """Return a table as YAML in the way people write it: one key a line, the innermost tables in braces, long lists one item a line."""
    out = []
    for key, one in value.items():
        if isinstance(one, dict) and any(
            isinstance(inner, dict) or (isinstance(inner, list) and len(inner) > _SHORT) for inner in one.values()
        ):
            out.append(f"{indent}{key}:\n{yaml_of(one, indent + '  ')}")
        elif isinstance(one, dict):
            out.append(f"{indent}{key}: {{" + ", ".join(f"{name}: {json.dumps(inner)}" for name, inner in one.items()) + "}\n")
        elif isinstance(one, list) and len(one) > _SHORT:
            out.append(f"{indent}{key}:\n" + "".join(f"{indent}  - {item}\n" for item in one))
        else:
            out.append(f"{indent}{key}: {json.dumps(one)}\n")
    return "".join(out)


def opcua(tags: int, rate: float, **more: Any) -> Load:
    """Return tags of one OPC UA server."""
    return Load("opcua", tags, rate, **more)


def modbus(tags: int, rate: float, **more: Any) -> Load:
    """Return registers of one Modbus device."""
    return Load("modbus", tags, rate, **more)


WORKLOADS = (
    Workload("a1", "OPC UA subscription, 1,000 tags x 10/s", (opcua(1000, 10),), 8.0, rss=120),
    Workload("a2", "OPC UA subscription, 5,000 tags x 10/s", (opcua(5000, 10),), 6.0, rss=110),
    Workload("a2m", "the same, types in turn", (opcua(5000, 10, alternating=True),)),
    Workload("a1s", "a1 secured (SignAndEncrypt)", (opcua(1000, 10, secure=True),)),
    Workload("a2s", "a2 secured (SignAndEncrypt)", (opcua(5000, 10, secure=True),)),
    Workload("b", "OPC UA polled, 10,000 tags x 1/s", (opcua(10_000, 1, polled=True),), 6.0),
    Workload("bs", "b secured (SignAndEncrypt)", (opcua(10_000, 1, polled=True, secure=True),)),
    Workload("c1", "Modbus 1,000 registers x 1/s", (modbus(1000, 1),), rss=60),
    Workload("c2", "Modbus 1,000 registers x 10/s", (modbus(1000, 10),), 8.0, rss=60),
    Workload("c3", "Modbus 10,000 registers x 1/s", (modbus(10_000, 1),)),
    Workload("c4", "Modbus 10,000 registers x 10/s", (modbus(10_000, 10),)),
    Workload("d0", "mixed line: 500 OPC UA + 500 Modbus x 10/s", (opcua(500, 10), modbus(500, 10))),
    Workload("d0w", "the same in two workers", (opcua(500, 10), modbus(500, 10)), workers=2),
    Workload("w0", "4 OPC UA servers of 5,000 tags x 10/s", (opcua(5000, 10),) * 4),
    Workload("w2", "the same in two workers", (opcua(5000, 10),) * 4, workers=2),
    Workload("d", "d0 with 20 counters x 10/s", (opcua(500, 10), modbus(500, 10)), counters=20),
    Workload("h", "20 OPC UA counters x 10/s, and nothing else", (opcua(20, 10),), counters=20),
    Workload("e1", "OPC UA polled, 10,000 tags x 1/s, 2 % change", (opcua(10_000, 1, polled=True, changing=2),), 1.5, per="poll"),
    Workload("e2", "Modbus 10,000 registers x 1/s, 2 % change", (modbus(10_000, 1, changing=2),), 3.0, per="poll"),
)
"""Lines of the table that are measured in one and the same way: steady load for some seconds."""

IDLE = (
    Workload("h1", "idle: 1,000 OPC UA tags that never change", (opcua(1000, 0),)),
    Workload("h2", "idle: 1,000 registers x 1/s that never change", (modbus(1000, 1, changing=0),)),
)
