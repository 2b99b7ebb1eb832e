"""The container: built from the offline archive, run with a read-only root and without any right, filled and stopped in good order."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clean_root import ROOT, built, impossible, made

sys.path.insert(0, str(ROOT / "tests" / "cli"))
from live_agent import Plc  # a neighbour's device

BASE = "docker.io/library/python:3.11-slim-bookworm"
IMAGE, NAME, VOLUME = "localhost/edge-agent-test", "edge-agent-test", "edge-agent-test-state"
_REASON = impossible() or (None if shutil.which("podman") else "podman is not on this machine (apt-get install podman runc)")
pytestmark = [pytest.mark.ux, pytest.mark.timeout(900), pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]


def podman(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman. runc, where it is there: crun takes no control groups of two versions at once."""
    command = ["podman", *(["--runtime", "runc"] if shutil.which("runc") else []), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def based() -> str:
    """Have the image that ours is made from; returns where it comes from. Without a registry it is Debian's own Python in its place."""
    if podman("image", "exists", BASE, check=False).returncode == 0 or podman("pull", "-q", BASE, check=False).returncode == 0:
        return "the registry"
    archive = made("bookworm", "python3-venv,python3-pip,python-is-python3", "python")
    podman("import", archive, BASE)
    return "debootstrap, in the place of the registry's"


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    """Build the image; returns where its base comes from."""
    origin = based()
    done = built(tmp_path, "--arch", "amd64", "--release", "12", "--fast")
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = tmp_path.glob("*-offline-x86_64.tar")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    place = tmp_path / archive.stem
    podman("build", "--isolation=chroot", "--network=host", "--format=docker", "--layers=false", "--pull=never", "-t", IMAGE, "-f", place / "Containerfile", place)  # fmt: skip
    yield origin
    podman("rm", "-f", "--ignore", NAME)
    podman("volume", "rm", "-f", VOLUME)
    podman("rmi", "-f", IMAGE)
    if origin != "the registry":
        podman("rmi", "-f", BASE)


LIMITS = ("--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096")
"""podman's own are a million, which a root with limits of its own may not give."""


def test_the_container_runs_without_any_right(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read-only, no capability, no new privileges: it reads its device, keeps what the broker does not take, says that it is alive, stops at once; nothing is lost."""
    plc, config = Plc(), tmp_path / "config"
    config.mkdir(mode=0o755)
    counter = {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "500/s"}
    device = {"version": 1, "device": "plc1", "driver": "modbus", "host": "127.0.0.1", "port": plc.port, "poll": "100ms",
              "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}}}  # fmt: skip
    unit = {"version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"], "counters": {"total": counter}}
    (config / "agent.yaml").write_text(json.dumps({
        "version": 1, "agent": "gw1", "site": ["acme", "plant1"], "buffer": {"path": "/var/lib/edge-agent/buffer", "min_free": 0},
        "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}, "devices": [device], "units": [unit]}))  # fmt: skip
    shut = ["--network=host", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", *LIMITS]
    run = ["run", "-d", "--name", NAME, *shut, "--env", "EDGE_AGENT_MACHINE_ID=gw-l3", "-v", f"{config}:/etc/edge-agent:ro",
           "-v", f"{VOLUME}:/var/lib/edge-agent", IMAGE]  # fmt: skip
    before = 0
    try:
        for _ in range(2):  # the second container goes on with the first one's volume
            podman(*run)
            status = running(before + 20)
            assert status["devices"]["plc1"]["up"], status
            health = podman("exec", NAME, "sh", "-c", "edge-agent status --brief || [ $? -eq 1 ]")
            assert "gw1" in health.stdout
            began = time.monotonic()
            podman("stop", NAME)
            assert time.monotonic() - began < 10
            assert podman("inspect", NAME, "--format", "{{.State.ExitCode}}").stdout.strip() == "0"
            before = status["buffer"]["waiting_events"]
            podman("rm", NAME)
    finally:
        plc.close()
    with capsys.disabled():
        print(f"\ncontainer (base from {image}): {before} events wait over two containers and one volume")


def running(waiting: int) -> dict[str, dict[str, dict[str, object]]]:
    """Return the status when more than ``waiting`` events wait."""
    end, said = time.monotonic() + 60, ""
    while time.monotonic() < end:
        done = podman("exec", NAME, "edge-agent", "status", "--json", check=False)
        said = done.stdout + done.stderr
        if done.stdout.startswith("{"):
            status = json.loads(done.stdout)
            if status["buffer"]["waiting_events"] > waiting:
                return status  # type: ignore[no-any-return]
        time.sleep(0.5)
    raise AssertionError(f"{said}\n{podman('logs', NAME, check=False).stderr}")
