"""A Debian without anything of ours: made once by debootstrap, unpacked for each test; commands run in it with mounts that end with them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_SYSTEMCTL = """\
#!/bin/sh
echo "$@" >> /systemctl.log
case "$1" in is-active) test -e /active ;; esac
"""


def impossible() -> str | None:
    """Return why there can be no clean root on this machine; None when there can."""
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return "the clean root is Debian 12 for amd64"
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        return "only root, with mounts of its own, can make a clean root"
    for tool in ("debootstrap", "dpkg-deb", "mosquitto"):
        if shutil.which(tool, path=PATH) is None:
            return f"{tool} is not on this machine (apt-get install {tool.replace('dpkg-deb', 'dpkg')})"
    return None


def made(release: str = "bookworm", more: str = "", kind: str = "", arch: str = "amd64") -> Path:
    """Return an archive of a minimal Debian with Python and ``more`` (packages, with commas), kept under the name ``kind``.

    Made the first time; raises CalledProcessError without a network.
    """
    kind = f"{release}-{kind}" if kind else release
    archive = ROOT / "build" / f"clean-root-{kind}-{arch}.tar"
    if not archive.exists():
        folder = archive.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        wanted = ",".join(filter(None, ("python3,adduser,ca-certificates", more)))
        command = ["debootstrap", f"--arch={arch}", "--variant=minbase", f"--include={wanted}", release, str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PATH": PATH})
        draft = archive.with_suffix(".new")
        subprocess.run(["tar", "-C", str(folder), "-cf", str(draft), "."], check=True)
        draft.rename(archive)
        shutil.rmtree(folder)
    return archive


class CleanRoot:
    """A root of its own. systemd does not run in it; a stand-in notes what it would be told, and says that the agent is active while /active is there."""

    def __init__(self, folder: Path, arch: str = "amd64") -> None:
        """Unpack it below ``folder``; code of another ``arch`` is emulated."""
        self.path = folder / "root"
        self.path.mkdir()
        subprocess.run(["tar", "-C", str(self.path), "-xf", str(made(arch=arch))], check=True)
        (self.path / "usr/bin/systemctl").write_text(_SYSTEMCTL)
        (self.path / "usr/bin/systemctl").chmod(0o755)
        (self.path / "run/systemd/system").mkdir(parents=True)

    def command(self, *words: object, user: str | None = None) -> list[str]:
        """Return what runs a command in it; the process is that command, not a shell around it."""
        spec = [f"--userspec={user}:{user}"] if user else []
        mounts = f"mount -t proc proc {self.path}/proc && mount --bind /dev {self.path}/dev"
        return ["unshare", "-m", "sh", "-c", f'{mounts} && exec chroot "$@"', "sh", *spec, str(self.path), *map(str, words)]

    def run(self, *words: object, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end."""
        return subprocess.run(
            self.command(*words, user=user), capture_output=True, text=True, timeout=240, check=False, env=environment()
        )

    def told(self) -> list[str]:
        """Return what systemd was told since the last time."""
        log = self.path / "systemctl.log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


def environment(**more: str) -> dict[str, str]:
    """Return what a service has in its environment."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"} | more


def renumbered(package: Path, version: str, folder: Path) -> Path:
    """Return the same package under another version."""
    stage = folder / f"stage-{version}"
    subprocess.run(["dpkg-deb", "-R", str(package), str(stage)], check=True)
    old = package.name.split("_")[1]
    for name in ("control", "preinst", "postinst"):
        file = stage / "DEBIAN" / name
        file.write_text(file.read_text().replace(old, version))
    (module,) = stage.glob("opt/edge-agent/lib/python*/site-packages/edge_agent/__init__.py")
    module.write_text(module.read_text().replace(f'"{old.partition("+")[0]}"', f'"{version}"'))
    file = folder / f"edge-agent_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", str(stage), str(file)], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(stage)
    return file


def built(folder: Path, *options: str) -> Any:
    """Build packages of this tree into ``folder``; returns the finished process."""
    command = [sys.executable, "packaging/build.py", "--out", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
