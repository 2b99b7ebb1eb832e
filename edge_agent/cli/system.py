"""What the machine says of itself: its clock, its disks, the journal of the service. Each answer says so where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PATIENCE = 10.0
_LINES = 5000


def asked(*command: str) -> str:
    """Return what a program of the system prints, or why it does not."""
    if shutil.which(command[0]) is None:
        return f"{command[0]}: not on this machine"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False, errors="replace")  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return (done.stdout + done.stderr).strip() or f"{command[0]}: said nothing (exit code {done.returncode})"


def clock() -> str:
    """Return what is known of the machine's clock and who sets it."""
    commands = (("date", "--iso-8601=ns"), ("timedatectl", "show"), ("chronyc", "-n", "tracking"))
    return "\n\n".join(f"$ {' '.join(command)}\n{asked(*command)}" for command in commands)


def journal() -> str:
    """Return the service's last lines, where this user may read them."""
    return asked("journalctl", "--unit", "edge-agent", "--lines", str(_LINES), "--no-pager", "--output", "short-iso")


def disks(places: Sequence[Path]) -> list[dict[str, object]]:
    """Return room and mount options of the file systems that ``places`` are on."""
    found: list[dict[str, object]] = []
    for place in places:
        there = next(each for each in (place.absolute(), *place.absolute().parents) if each.exists())
        room, inodes = shutil.disk_usage(there), os.statvfs(there)
        found.append(
            {
                "path": str(place), "bytes": room.total, "free": room.free, "inodes_free": inodes.f_favail,
                "read_only": bool(inodes.f_flag & os.ST_RDONLY), "mount": _mount(there),
            }
        )  # fmt: skip
    return found


def _mount(place: Path) -> str:
    """Return the line of /proc/mounts that ``place`` is under."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fitting = [line for line in lines if place.is_relative_to(line.split(" ")[1])]
    return max(fitting, key=lambda line: len(line.split(" ")[1]), default="")
