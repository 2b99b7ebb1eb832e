"""A Debian package: /opt/edge-agent is a virtual environment of the release's own Python, laid out without running anything of the target machine."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wheels import PYTHONS, Target, Wheelhouse, unpack, version_of

HOME = "opt/edge-agent"
DEBIAN = Path(__file__).with_name("debian")
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_ENTRY = """\
#!/opt/edge-agent/bin/python -I
from edge_agent.__main__ import main

main()
"""


def build_deb(source: Path, wheel: Path, house: Wheelhouse, arch: str, release: str, out: Path, *, fast: bool = False) -> Path:
    """Build the package for one architecture and one release of Debian; returns its file. ``fast``: hardly packed, for tests."""
    version, python = f"{debian_version(version_of(source))}+deb{release}", PYTHONS[release]
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"
        environment(stage / HOME, python)
        unpack(house, wheel, Target(arch, python), stage / HOME / "lib" / f"python{python}" / "site-packages")
        beside(source, stage)
        control(
            stage,
            {"VERSION": version, "ARCH": arch, "PYTHON": python, "NEXT": _next(python), "FORMAT": str(store_format(source))},
        )
        settle(stage)
        file = out / f"edge-agent_{version}_{arch}.deb"
        command = [
            "dpkg-deb",
            "--root-owner-group",
            *(("-Zgzip", "-z1") if fast else ("-Zxz", "-z6", "--threads-max=1")),
            "--build",
            str(stage),
            str(file),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return file


def debian_version(version: str) -> str:
    """Return a Python version so that dpkg sorts it right: a release candidate before the release."""
    return re.sub(r"(?<=\d)(a|b|rc|\.dev)(?=\d)", r"~\1", version)


def _next(python: str) -> str:
    major, _, minor = python.partition(".")
    return f"{major}.{int(minor) + 1}"


def environment(home: Path, python: str) -> None:
    """Make a virtual environment as `venv --without-pip` does, for a machine that this one is not."""
    (home / "bin").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n")
    for name in ("python", "python3"):
        (home / "bin" / name).symlink_to(f"/usr/bin/python{python}")
    entry = home / "bin" / "edge-agent"
    entry.write_text(_ENTRY)
    entry.chmod(0o755)


def beside(source: Path, stage: Path) -> None:
    """Lay out what belongs to the system: units, packet filter, documents, the command."""
    units = stage / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for name in ("edge-agent.service", "edge-agent-consumer.service"):
        shutil.copy(source / "systemd" / name, units)
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/edge-agent").symlink_to("/opt/edge-agent/bin/edge-agent")
    (stage / "etc/edge-agent").mkdir(parents=True)
    shutil.copy(source / "systemd/edge-agent.nft", stage / "etc/edge-agent")
    papers = stage / "usr/share/doc/edge-agent"
    shutil.copytree(source / "systemd", papers / "systemd")
    shutil.copytree(source / "docs", papers / "docs", ignore=shutil.ignore_patterns("*.py", "*.in", "develop", "decisions"))
    shutil.copytree(source / "config", papers / "examples", ignore=shutil.ignore_patterns("scenarios"))
    shutil.copy(DEBIAN / "copyright", papers)
    for name in ("README.md", "SECURITY.md", "RELIABILITY.md"):
        shutil.copy(source / name, papers)
    (papers / "CHANGELOG.md.gz").write_bytes(gzip.compress((source / "CHANGELOG.md").read_bytes(), mtime=0))
    overrides = stage / "usr/share/lintian/overrides"
    overrides.mkdir(parents=True)
    shutil.copy(DEBIAN / "lintian-overrides", overrides / "edge-agent")


def control(stage: Path, words: dict[str, str]) -> None:
    """Write what dpkg reads: control, conffiles, checksums, and the scripts."""
    place = stage / "DEBIAN"
    place.mkdir()
    files = [file for file in stage.rglob("*") if file.is_file() and not file.is_symlink() and DEBIAN.name not in file.parts[:1]]
    words = words | {"SIZE": str(sum(-(-file.stat().st_size // 1024) for file in files))}
    for name in ("control", "conffiles", *SCRIPTS):
        text = (DEBIAN / name).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (place / name).write_text(text, encoding="utf-8")
    installed = sorted(str(file.relative_to(stage)) for file in files if file.relative_to(stage).parts[0] != "etc")
    sums = subprocess.run(["md5sum", *installed], cwd=stage, check=True, capture_output=True, text=True).stdout
    (place / "md5sums").write_text(sums, encoding="utf-8")


def store_format(source: Path) -> int:
    """Return the newest format of the buffer that these sources know."""
    script = "from edge_agent.buffer.schema import MIGRATIONS; print(len(MIGRATIONS))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


def settle(stage: Path) -> None:
    """Give everything the same time and plain permissions: what was built twice is equal."""
    moment = int(os.environ["SOURCE_DATE_EPOCH"])
    for cache in list(stage.rglob("__pycache__")):
        shutil.rmtree(cache)
    for each in [stage, *stage.rglob("*")]:
        if not each.is_symlink():
            runs = (
                each.is_dir() or each.parent == stage / HOME / "bin" or (each.parent == stage / "DEBIAN" and each.name in SCRIPTS)
            )
            each.chmod(0o755 if runs else 0o644)
        os.utime(each, (moment, moment), follow_symlinks=False)
