"""All sources of the benchmark at one agent, for a second: nothing is lost, and nothing is invented."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.measure import steady
from benchmarks.workload import IDLE, WORKLOADS, Workload


@pytest.mark.e2e
@pytest.mark.mosquitto
def test_bench_no_workload_loses_or_invents_a_sample() -> None:
    """Every kind of source that a workload has, small and together: each tag counts from 0 on without a hole, and the counters count."""
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        pytest.skip("the mosquitto broker is not installed (apt install mosquitto)")
    loads = dict.fromkeys(load for work in (*WORKLOADS, *IDLE) for load in work.small().loads)
    every = Workload("all", "every source at once", tuple(loads), counters=4)
    found = steady(every, settle=0.0, window=1.0)
    assert (found["wrong"], found["bad"]) == ({}, 0), found["examples"]
    assert found["samples"] > 0
    assert found["total"] > sum(load.tags for load in every.loads)
    assert found["events"] > 0
