"""One measurement of one workload: start everything, let it settle, look at CPU and counts at both ends of a window."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.counting import AGAIN
from benchmarks.stage import ROOT, Agent, Asked, Broker, until
from benchmarks.workload import Workload

START = 60.0
"""Seconds within which the first sample must have come."""


def steady(work: Workload, *, settle: float, window: float, profile: Path | None = None, root: Path = ROOT) -> dict[str, Any]:
    """Measure ``work`` for ``window`` seconds, ``settle`` seconds after its first sample. Raises RuntimeError when it does not come.

    ``root`` is where the agent's sources are, to compare one version with another.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-bench-")))
        broker = stack.enter_context(Broker(folder))
        counting = stack.enter_context(Asked("benchmarks.counting", "--port", str(broker.port)))
        sources = [stack.enter_context(Asked(*load.program)) for load in work.loads]
        config = work.write(folder, broker.port, [source.ready for source in sources])
        with Agent(config, folder, profile, root) as agent:
            tags = sum(load.tags for load in work.loads)
            first = until(counting, "samples", tags, START, agent)
            for source, load in zip(sources, work.loads, strict=True):
                if load.rate and load.changing == 100:  # what was read before the subscription was there is no load yet
                    until(source, "produced", load.tags, START, agent)
            time.sleep(settle)
            if profile is not None:
                agent.look()
            before = _look(counting, agent, sources)
            time.sleep(window)
            after = _look(counting, agent, sources)
            rss = agent.rss
        time.sleep(0.3)
        end, said = counting.ask(), agent.log.read_text()[-1000:]
    return _result(work, before, after, end, rss) | {"start": (first["first"] - agent.began) / 1e9, "log": said}


def _look(counting: Asked, agent: Agent, sources: list[Asked]) -> dict[str, Any]:
    asked = [source.ask() for source in sources]
    figures = counting.ask()
    return figures | {
        "cpu": agent.cpu, "kept_waiting": agent.kept_waiting, "at": time.monotonic(),
        "produced": sum(one["produced"] for one in asked), "waiting": sum(one["waiting"] for one in asked), "source_cpu": sum(source.cpu for source in sources),
    }  # fmt: skip


def _result(work: Workload, before: dict[str, Any], after: dict[str, Any], end: dict[str, Any], rss: int) -> dict[str, Any]:
    seconds, cpu = after["at"] - before["at"], after["cpu"] - before["cpu"]
    samples = after["samples"] - before["samples"]
    events = sum(after["events"].values()) - sum(before["events"].values())
    if any(load.changing < 100 for load in work.loads):
        end["wrong"].pop(AGAIN, None)
    of = samples if work.per == "sample" else work.looked_at * seconds
    return {
        "us": cpu / of * 1e6 if of else None, "core": cpu / seconds,
        "starved": (after["kept_waiting"] - before["kept_waiting"]) / seconds, "rate": samples / seconds, "expected": work.per_second,
        "events": events / seconds, "samples": samples, "seconds": seconds, "rss": rss / 1e6,
        "p50": after["latency"]["p50"], "p99": after["latency"]["p99"],
        "event_p50": after["event_latency"]["p50"], "event_p99": after["event_latency"]["p99"],
        "bytes": (after["bytes"] - before["bytes"]) / samples if samples else None,
        "messages": (after["messages"] - before["messages"]) / seconds, "backlog": after["waiting"] - before["waiting"],
        "source_us": (after["source_cpu"] - before["source_cpu"]) / samples * 1e6 if samples else None,
        "wrong": end["wrong"], "bad": end["bad"], "examples": end["examples"], "total": end["samples"],
    }  # fmt: skip
