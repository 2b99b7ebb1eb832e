"""An archive for a gateway without a network: every wheel for its machine and several Pythons, a script that installs them, and checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from wheels import ARCHITECTURES, Target, Wheelhouse, own, pip, version_of

PYTHONS = ("3.11", "3.12", "3.13")
"""Debian 12 and 13, Ubuntu 24.04."""
HERE = Path(__file__).parent


def build_offline(source: Path, wheel: Path, house: Wheelhouse, arch: str, out: Path) -> Path:
    """Build the archive for one architecture; returns its file."""
    name = f"edge-agent-{version_of(source)}-offline-{ARCHITECTURES[arch]}"
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / name
        wheels = stage / "wheels"
        wheels.mkdir(parents=True)
        for python in PYTHONS:
            for each in house.of(Target(arch, python)).glob("*.whl"):
                shutil.copy(each, wheels)
        shutil.copy(wheel, wheels)
        (stage / "requirements.lock").write_text(house.lock + own(wheel), encoding="utf-8")
        _pip(source, wheels)
        shutil.copytree(source / "systemd", stage / "systemd")
        shutil.copy(HERE / "offline" / "install.sh", stage)
        shutil.copy(HERE / "Containerfile", stage)
        shutil.copy(source / "docs/how-to/install.md", stage)
        (stage / "VERSION").write_text(f"{version_of(source)}\n")
        files = sorted(file for file in stage.rglob("*") if file.is_file())
        sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(stage)}\n" for file in files)
        (stage / "SHA256SUMS").write_text(sums)
        return _packed(stage, out / f"{name}.tar")


def _pip(source: Path, wheels: Path) -> None:
    """Add pip itself: a gateway may have none."""
    lock = (source / "requirements-dev.lock").read_text(encoding="utf-8")
    entry = "pip==" + lock.split("\npip==", 1)[1].split("\n\n")[0]
    kept = [line for number, line in enumerate(entry.splitlines()) if number == 0 or line.startswith("    --hash")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pip.lock"
        file.write_text("\n".join(_whole(kept)) + "\n", encoding="utf-8")
        pip("download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", wheels, "-r", file)


def _whole(lines: list[str]) -> list[str]:
    """Return the first requirement of some lines of a lock: up to the line that no backslash goes on from."""
    end = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
    return lines[: end + 1]


def _packed(stage: Path, file: Path) -> Path:
    """Pack a folder so that the same content gives the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
        member.mode = 0o755 if member.isdir() or member.name.endswith(".sh") else 0o644
        return member

    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for each in [stage, *sorted(stage.rglob("*"))]:
            archive.add(each, str(each.relative_to(stage.parent)), recursive=False, filter=plain)
    return file
