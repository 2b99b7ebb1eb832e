"""The package for arm64, emulated: slower than any gateway, the same instructions."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clean_root import ROOT, CleanRoot, built, environment, impossible

sys.path.insert(0, str(ROOT / "tests" / "cli"))
from live_agent import Plc  # a neighbour's device

STORE = "/var/lib/edge-agent/buffer"
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


def why_not() -> str | None:
    """Return why code for arm64 cannot run here; None when it can."""
    if reason := impossible():
        return reason
    if shutil.which("qemu-aarch64-static") is None:
        return "qemu is not on this machine (apt-get install qemu-user-static)"
    if not EMULATOR.exists():  # a machine without an init of Debian's has nobody who did it
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(EMULATOR.parent)], capture_output=True, check=False)
        enable = shutil.which("update-binfmts", path="/usr/sbin:/usr/bin")
        subprocess.run([enable or "false", "--enable", "qemu-aarch64"], capture_output=True, check=False)
    return None if EMULATOR.exists() else "the kernel does not hand code for arm64 to qemu (binfmt_misc)"


_REASON = why_not()
pytestmark = [pytest.mark.ux, pytest.mark.timeout(1500), pytest.mark.skipif(_REASON is not None, reason=str(_REASON))]


def test_the_agent_runs_on_arm64(tmp_path: Path) -> None:
    """Installed by dpkg, every compiled library loads, a device is read, its events are on disk, the end is an orderly one."""
    plc, root = Plc(), CleanRoot(tmp_path, "arm64")
    try:
        done = built(tmp_path, "--arch", "arm64", "--release", "12", "--only", "deb", "--fast")
        assert done.returncode == 0, done.stderr
        (package,) = tmp_path.glob("edge-agent_*_arm64.deb")
        shutil.copy(package, root.path / "tmp")
        done = root.run("dpkg", "-i", f"/tmp/{package.name}")
        assert done.returncode == 0, done
        assert root.run("uname", "-m").stdout == "aarch64\n"
        modules = "uvloop, apsw, msgspec, pydantic_core, cryptography.hazmat.bindings._rust, asyncua, pymodbus"
        done = root.run("/opt/edge-agent/bin/python", "-I", "-c", f"import {modules}")
        assert done.returncode == 0, done.stderr
        device = {"version": 1, "device": "plc1", "driver": "modbus", "host": "127.0.0.1", "port": plc.port, "poll": "200ms",
                  "tags": {"count": {"register": "holding", "address": 0, "type": "uint16"}}}  # fmt: skip
        counter = {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "500/s"}
        unit = {"version": 1, "unit": "filler", "path": ["acme", "plant1", "line1"], "counters": {"total": counter}}
        (root.path / "etc/edge-agent/agent.yaml").write_text(json.dumps({
            "version": 1, "agent": "gw1", "site": ["acme", "plant1"], "buffer": {"path": STORE, "min_free": 0},
            "mqtt": {"broker": "mqtt://127.0.0.1:1", "allow_insecure": True}, "devices": [device], "units": [unit]}))  # fmt: skip
        ran(root, tmp_path / "agent.log")
        done = root.run("edge-agent", "buffer", "export", "--store", STORE)
        assert len(done.stdout.splitlines()) > 20, done
    finally:
        plc.close()


def ran(root: CleanRoot, log: Path) -> None:
    """Run the agent until events wait, and end it."""
    command = root.command("edge-agent", "run", "--config", "/etc/edge-agent", user="edge-agent")
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment(EDGE_AGENT_BUFFER=STORE)) as process,
    ):
        try:
            end, waiting = time.monotonic() + 120, 0
            while waiting < 20:
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(1)
                told = root.run("edge-agent", "buffer", "status", "--json").stdout
                waiting = json.loads(told)["waiting_events"] if told.startswith("{") else 0
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    assert code == 0, log.read_text()[-3000:]
