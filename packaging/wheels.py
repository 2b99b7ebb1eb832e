"""The locked wheels for a machine that this one is not, and the agent's own wheel."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's names, and those of wheels."""
PYTHONS = {"12": "3.11", "13": "3.13"}
"""Releases of Debian, and the Python each has: compiled wheels fit one Python."""
LEFT_OUT = {"iotcore"}
"""Only the demo needs it, which runs from the sources."""
_GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5", "manylinux1")


class Target(NamedTuple):
    """A machine: ``arch`` as Debian calls it, ``python`` as 3.11."""

    arch: str
    python: str

    def options(self) -> list[str]:
        """Return what pip has to be told to take this machine's wheels, and no sources."""
        digits = self.python.replace(".", "")
        words = ["--only-binary=:all:", "--python-version", self.python, "--implementation", "cp"]
        for abi in (f"cp{digits}", "abi3", "none"):
            words += ["--abi", abi]
        for glibc in _GLIBC:
            words += ["--platform", f"{glibc}_{ARCHITECTURES[self.arch]}"]
        return [*words, "--platform", "any"]


class Wheelhouse:
    """Downloads, kept by machine; each is held against the hash in the lock."""

    def __init__(self, lock: Path, folder: Path) -> None:
        """Take what ``lock`` names, less what gateways do not need."""
        entries = re.split(r"\n(?=[a-z0-9])", lock.read_text(encoding="utf-8").strip())
        self.lock = "\n".join(each for each in entries if each.partition("==")[0] not in LEFT_OUT) + "\n"
        self._folder = folder

    def of(self, target: Target) -> Path:
        """Return the folder with every wheel for a machine."""
        place = self._folder / f"{target.arch}-{target.python}"
        note = place / ".lock"
        if note.exists() and note.read_text(encoding="utf-8") == self.lock:
            return place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        file = place / "requirements.lock"
        file.write_text(self.lock, encoding="utf-8")
        pip("download", "--no-deps", "--require-hashes", *target.options(), "--dest", place, "-r", file)
        file.unlink()
        note.write_text(self.lock, encoding="utf-8")
        return place


def unpack(house: Wheelhouse, wheel: Path, target: Target, into: Path) -> None:
    """Lay every wheel out below ``into`` as an installed package; nothing of it is run."""
    into.mkdir(parents=True)
    file = into.parent / "requirements.lock"
    file.write_text(house.lock + own(wheel), encoding="utf-8")
    found = ["--no-index", "--find-links", house.of(target), "--find-links", wheel.parent]
    quiet = ["--no-deps", "--no-compile", "--no-warn-script-location"]
    pip("install", *quiet, *found, *target.options(), "--require-hashes", "--target", into, "-r", file)
    file.unlink()
    shutil.rmtree(into / "bin", ignore_errors=True)


def own(wheel: Path) -> str:
    """Return the lock's line for the agent's own wheel."""
    version = wheel.name.split("-")[1]
    return f"edge-agent=={version} \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def build_wheel(source: Path, out: Path) -> Path:
    """Build the agent's own wheel; needs hatchling and no network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = out.glob("edge_agent-*.whl")
    return wheel


def version_of(source: Path) -> str:
    """Return the version as it stands in the sources."""
    found = re.search(
        r'^__version__ = "([^"]+)"', (source / "edge_agent" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    if found is None:
        raise SystemExit(f"{source}: no __version__")
    return found[1]


def pip(verb: str, *arguments: object) -> None:
    """Run pip quietly; what it cannot do ends the build with its own words."""
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit(f"packages: pip {verb} failed (see above)")
