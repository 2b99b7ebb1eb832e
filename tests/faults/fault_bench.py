"""A real agent process between a device that numbers its changes and a broker that remembers, with a proxy in front of the broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fault_config import WINDOW, config
from fault_links import Front, linked, tls_front
from fault_program import ROOT, Process
from fault_seen import Seen
from tally import Tally

from simulators.check import Verdict, judge
from simulators.check_gaps import Cause
from simulators.check_records import Arrival, read_store
from simulators.control import ask
from simulators.faults import Link
from simulators.generator import Generator
from simulators.ledger import Ledger, read_ledger

RECOVERY = 5.0
"""Machine seconds in which new data have to arrive after a fault has ended."""
DETECTION = 15.0
"""Machine seconds in which a dead peer has to be noticed with the default times; the bench runs with shorter ones."""


class Bench:
    """Everything of one run."""

    def __init__(self, folder: Path, generator: Generator, link: Link, broker: Process, agent: Process) -> None:
        self.folder, self.generator, self.link, self.broker, self.agent = folder, generator, link, broker, agent
        self.reasons = {
            "sampling_overrun"
        }  # other programs on this machine may delay a poll of 50 ms: that is said, and no count is lost
        self.tally = Tally("run", link.up.seed)
        self.kills, self._killed = 0, 0.0
        self.causes: list[Cause] = []
        self.store = folder / "buffer"
        self.device: Link | None = None
        self.front: Front | None = None
        self.seen = Seen(folder / "broker.jsonl")

    async def fault(self, request: str) -> str:
        """Ask something of the broker's control socket."""
        return await ask(self.folder / "control", request)

    def ledger(self) -> list[dict[str, Any]]:
        """Return the broker's ledger so far; only what is new is read."""
        self.seen.read()
        return self.seen.entries

    def events(self, *, taken: bool = True) -> list[Arrival]:
        """Return the numbered events that arrived so far."""
        self.seen.read()
        return [each for each in self.seen.events if each.taken or not taken]

    def connects(self) -> list[dict[str, Any]]:
        """Return the agent's connections so far."""
        return [entry for entry in self.ledger() if entry["what"] == "connect" and entry["client"] == "gw1"]

    def log(self) -> list[dict[str, Any]]:
        """Return the agent's log."""
        return [json.loads(line) for line in self.agent.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]

    def downs(self) -> list[str]:
        """Return why the link to the broker was lost or could not be opened, each time."""
        return [
            line["reason"] for line in self.log() if line["event"] in {"link.down", "link.still_down"} and line["kind"] == "mqtt"
        ]

    def rss(self) -> int:
        """Return the resident memory of the agent in bytes."""
        for line in Path(f"/proc/{self.agent.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    async def start_broker(self) -> None:
        """Start it again and return when it listens: what is judged from then on is the agent, and not an interpreter."""
        told = self._ready()
        await self.broker.start()
        await until(lambda: self._ready() > told, 30)

    def _ready(self) -> int:
        return self.broker.log.read_bytes().count(b"ready ")

    async def kill_agent(self) -> None:
        """SIGKILL; what a consumer sees of it is told by the agent at its next start."""
        self.kills += 1
        self.reasons.add("agent_down")
        await self.agent.kill()
        self._killed = time.time()

    async def start_agent(self) -> None:
        """Start a killed agent again; its gaps may not be far longer than it was away."""
        await self.agent.start()
        self.caused("agent_down", self._killed)

    def caused(self, reason: str, begin: float) -> None:
        """Note a fault that lasted from ``begin`` (s, UTC) until now, and the ``reason`` of the gaps that it explains."""
        self.causes.append(Cause(reason, begin, time.time()))

    async def fresh(self, within: float = RECOVERY, count: int = 3, *, healed: bool = True) -> float:
        """Wait until changes that the device shows from now on have arrived; returns how long that took, and fails when it is longer.

        ``healed`` = a fault has just ended, so this time is a recovery; not so where the agent waits longer on purpose, or where nothing was wrong.
        """
        begin = time.monotonic()
        high = max(self.generator.told.values(), default=0) % 1_000_000
        await self.seen.catch_up()
        place, found = len(self.seen.events), 0

        def arrived() -> bool:
            nonlocal place, found
            self.seen.read()
            new, place = self.seen.events[place:], len(self.seen.events)
            found += sum(each.taken and each.type.endswith("count.v1") and int(each.data["raw"]) % 1_000_000 > high for each in new)
            return found >= count

        await until(arrived, within)
        took = time.monotonic() - begin
        if healed:
            self.tally.recovery = max(self.tally.recovery, took)
        return took

    async def finish(self) -> Verdict:
        """Let the counters stand, wait until everything has arrived, end the agent in order, and judge."""
        self.generator.stop_counting()
        await until(lambda: self.generator.final, 5)
        await asyncio.sleep(0.3)
        assert await self.agent.end() == 0, self.agent.log.read_text()[-3000:]
        verdict = self.judge()
        self.tally.judged(verdict)
        note(self.tally)
        for line in verdict.lines():
            print(line)
        assert verdict.problems == []
        assert sum(each.still_buffered for each in verdict.sources) == 0
        return verdict

    def judge(self) -> Verdict:
        """Let the checker judge the run."""
        produced = read_ledger(self.folder / "generator.jsonl")
        store = read_store(self.store)
        return judge(
            self.ledger(), store, produced, window=WINDOW, restarts=self.kills, reasons=frozenset(self.reasons), causes=self.causes
        )


def note(tally: Tally) -> None:
    """Add a run to the file in which the runner of the whole bench collects them, if it runs us."""
    if (file := os.environ.get("FAULT_BENCH_TALLIES")) is not None:
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(json.dumps(tally.as_json()) + "\n")


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def bench(
    folder: Path,
    *,
    counters: int = 3,
    names: Sequence[str] = (),
    rate: float = 20.0,
    seed: int = 1,
    root: Path = ROOT,
    far: bool = False,
    tls: bool = False,
    buffer: dict[str, Any] | None = None,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
    timeout: str = "1s",
    wait: bool = True,
    started: bool = True,
    **mqtt: Any,
) -> AsyncIterator[Bench]:
    """Start everything, the agent last, and wait until its first counts have arrived. ``mqtt`` and ``buffer`` = settings of the agent.

    ``timeout`` = how long the device may take for an answer; ``root`` = the sources that the agent runs; ``far``: a link that can be spoiled stands before the device too; ``tls``: the link to the broker carries TLS;
    ``host`` = how the agent calls the broker, ``environment`` = the agent's beside ours; without ``wait`` nobody waits for the first counts, without
    ``started`` the agent is only prepared.
    """
    async with contextlib.AsyncExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder / "generator.jsonl"))
        names = names or [f"c{index}" for index in range(counters)]
        print(f"seed {seed}")
        generator = Generator(names, rate, ledger)
        await generator.listen("127.0.0.1", 0)
        stack.push_async_callback(generator.close)
        port = free_port()
        call = ("--port", str(port), "--ledger", str(folder / "broker.jsonl"), "--control", str(folder / "control"))
        broker = Process("simulators.broker", folder / "broker.log", *call)
        stack.push_async_callback(broker.kill)
        await broker.start()
        await until(lambda: b"ready" in broker.log.read_bytes(), 10)
        front = None
        if tls:
            front = await stack.enter_async_context(tls_front(folder, port))
            mqtt |= {"tls": {"ca": str(folder / "ca.pem")}}
            port = front.port
        link = await stack.enter_async_context(linked(port, seed))
        device = await stack.enter_async_context(linked(generator.port, seed + 2)) if far else None
        file = folder / "agent.yaml"
        mqtt = {"broker": f"{'mqtts' if tls else 'mqtt'}://{host}:{link.port}", **mqtt}
        about = config(folder, device.port if device else generator.port, link.port, names, buffer or {}, timeout, **mqtt)
        file.write_text(json.dumps(about))
        log = ("--log-format", "json", "--log-level", "debug")
        agent = Process("edge_agent", folder / "agent.log", "run", "-c", str(file), *log, root=root, **(environment or {}))
        stack.push_async_callback(agent.kill)
        made = Bench(folder, generator, link, broker, agent)
        made.device, made.front = device, front
        made.tally.stage = os.environ.get("PYTEST_CURRENT_TEST", "run").partition(" ")[0]
        made.store = Path((buffer or {}).get("path", made.store))
        if started:
            await agent.start()
        if started and wait:
            await made.fresh(15, count=1, healed=False)
        yield made


def free_port() -> int:
    """Return a port that is free now; the broker needs the same one after a restart."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
