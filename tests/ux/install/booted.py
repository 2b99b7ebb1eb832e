"""A Debian that has booted: systemd itself is its process 1, in namespaces of its own (systemd-nspawn), on this machine's network."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import clean_root

SYSTEMD = "systemd,systemd-sysv,dbus"


def impossible() -> str | None:
    """Return why none can be booted on this machine; None when one can."""
    if reason := clean_root.impossible():
        return reason
    if shutil.which("systemd-nspawn", path=clean_root.PATH) is None:
        return "systemd-nspawn is not on this machine (apt-get install systemd-container)"
    return None


class Booted:
    """One machine, from its boot to its end."""

    def __init__(self, folder: Path, release: str) -> None:
        """Unpack a root below ``folder`` and boot it. Raises TimeoutError with what it said when it does not come up."""
        self.path = folder / "machine"
        self.path.mkdir()
        subprocess.run(["tar", "-C", str(self.path), "-xf", str(clean_root.made(release, SYSTEMD, "booting"))], check=True)
        self.log = (folder / "boot.log").open("w+b")
        self._outer = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "systemd-nspawn", "-q", "-D", str(self.path), "--register=no", "--keep-unit",
             "--boot", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=os.environ | {"PATH": clean_root.PATH},
        )  # fmt: skip
        self._init = 0
        try:
            self._up(60)
        except BaseException:
            self.close()
            raise

    def _up(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.run("systemctl", "is-system-running").stdout.strip() not in {"running", "degraded"}:
            if time.monotonic() > end or self._outer.poll() is not None:
                self.log.seek(0)
                raise TimeoutError(f"it did not boot in {seconds} s: {self.log.read()[-2000:].decode(errors='replace')}")
            time.sleep(0.2)

    def run(self, *words: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root, to its end."""
        self._init = self._init or _child(self._outer.pid)
        if not self._init:
            return subprocess.CompletedProcess(words, 1, "", "not booted yet")
        inside = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "-r", "-w", *map(str, words)]
        return subprocess.run(
            inside,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=clean_root.environment(),
            stdin=subprocess.DEVNULL,
        )

    def file(self, name: str) -> Path:
        """Return where a file of it is for us; not for what it has mounted itself."""
        return self.path / name.lstrip("/")

    def shown(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self.run("systemctl", "show", unit, *(f"-p{name}" for name in names)).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, *words: object) -> str:
        """Return what the journal has."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *words).stdout

    def close(self) -> None:
        """End it and all its processes: its process namespace ends with its first one."""
        self._outer.terminate()
        try:
            self._outer.wait(20)
        except subprocess.TimeoutExpired:
            for each in (_child(self._outer.pid), self._outer.pid):
                if each:
                    os.kill(each, 9)
            self._outer.wait(20)
        self.log.close()


def _child(pid: int) -> int:
    """Return the first process of the machine that the process ``pid`` has started; 0 while it has none."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        inner = [each for each in found if Path(f"/proc/{each}/comm").read_text().strip() == "systemd"]
    except OSError:
        return 0
    return int(inner[0]) if inner else 0


def told(done: subprocess.CompletedProcess[Any]) -> str:
    """Return what a command said, for a failing assertion."""
    return f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
