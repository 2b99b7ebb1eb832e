#!/usr/bin/env python3
"""Build what is installed on gateways: a wheel, a .deb for each architecture, and archives for gateways without a network.

    python3 packaging/build.py [--arch amd64] [--arch arm64] [--only deb|offline] [--out dist]

Nothing of another architecture is run: a .deb holds the locked wheels for its machine, unpacked. What was built twice from one commit is equal byte for byte.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deb import build_deb
from offline import build_offline
from wheels import ARCHITECTURES, PYTHONS, Wheelhouse, build_wheel

ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str]) -> int:
    """Build what was asked for; print one line for each file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--arch", action="append", choices=sorted(ARCHITECTURES), help="both, when left out")
    parser.add_argument("--only", choices=["deb", "offline"], help="leave the other out")
    parser.add_argument("--release", action="append", choices=sorted(PYTHONS), help="releases of Debian a .deb is made for (all)")
    parser.add_argument("--fast", action="store_true", help="hardly packed, for tests")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--source", type=Path, default=ROOT, help="the tree to build from")
    parser.add_argument("--wheels", type=Path, default=ROOT / "build" / "wheels", help="where downloads are kept")
    asked = parser.parse_args(argv)
    os.environ["SOURCE_DATE_EPOCH"] = str(moment(asked.source))
    asked.out.mkdir(parents=True, exist_ok=True)
    house = Wheelhouse(asked.source / "requirements.lock", asked.wheels)
    handbook = asked.source / "edge_agent" / "handbook" / "docs" / "index.html"
    if not handbook.exists():
        print("packages: without the handbook, which `dev.py docs` makes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(asked.source, Path(folder))
        shutil.copy(wheel, asked.out)
        told(asked.out / wheel.name)
        for arch in asked.arch or sorted(ARCHITECTURES):
            if asked.only != "offline":
                for release in asked.release or sorted(PYTHONS):
                    told(build_deb(asked.source, wheel, house, arch, release, asked.out, fast=asked.fast))
            if asked.only != "deb":
                told(build_offline(asked.source, wheel, house, arch, asked.out))
    return 0


def moment(source: Path) -> int:
    """Return the time that everything in a package has, seconds since 1970: that of the commit, so that building again makes the same."""
    if found := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(found)
    asked = subprocess.run(["git", "-C", str(source), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(asked.stdout) if re.fullmatch(r"\d+\n", asked.stdout) else int(time.time())


def told(file: Path) -> None:
    """Say what is there."""
    print(f"{file}  {file.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
