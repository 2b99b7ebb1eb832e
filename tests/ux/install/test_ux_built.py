"""What is built: the same bytes twice, the right machine's code, nothing that does not belong in it, and an archive that installs without a network."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from clean_root import CleanRoot, built, impossible

_REASON = impossible()
_ELF = {"amd64": 62, "arm64": 183}
"""e_machine of ELF files (System V ABI, chapter 4)."""
pytestmark = [
    pytest.mark.ux,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not on this machine (apt-get install dpkg)"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything for both machines and Debian 12, in one folder."""
    folder = tmp_path_factory.mktemp("dist")
    done = built(folder, "--release", "12", "--fast")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_building_again_gives_the_same_bytes(packages: Path, tmp_path: Path) -> None:
    """The package and the archive of one machine are equal to those that were built before."""
    done = built(tmp_path, "--arch", "arm64", "--release", "12", "--fast")
    assert done.returncode == 0, done.stderr
    again = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in tmp_path.iterdir()}
    assert len(again) == 3
    assert {name: hashlib.sha256((packages / name).read_bytes()).hexdigest() for name in again} == again


@pytest.mark.parametrize("arch", _ELF)
def test_a_package_holds_the_code_of_its_machine(packages: Path, tmp_path: Path, arch: str) -> None:
    """Every compiled library is for that machine; all the expected files are there, and none of ours that users do not need."""
    (package,) = packages.glob(f"edge-agent_*_{arch}.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    libraries = [file for file in tmp_path.rglob("*.so*") if file.is_file() and file.read_bytes()[:4] == b"\x7fELF"]
    assert len(libraries) > 10
    assert {int.from_bytes(file.read_bytes()[18:20], "little") for file in libraries} == {_ELF[arch]}
    assert (
        subprocess.run(["dpkg-deb", "-f", str(package), "Architecture"], capture_output=True, text=True, check=True).stdout.strip()
        == arch
    )
    names = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")}
    assert {"usr/lib/systemd/system/edge-agent.service", "usr/bin/edge-agent", "etc/edge-agent/edge-agent.nft", "opt/edge-agent/bin/edge-agent",
            "usr/share/doc/edge-agent/docs/how-to/install.md", "usr/share/doc/edge-agent/copyright"} <= names  # fmt: skip
    site = "opt/edge-agent/lib/python3.11/site-packages/"
    assert {f"{site}edge_agent/py.typed", f"{site}asyncua/__init__.py"} <= names
    assert not [name for name in names if re.search(rf"^{site}(tests|simulators|iotcore)\b|__pycache__|/config/agent\.yaml$", name)]


def test_the_wheel_holds_the_agent_alone(packages: Path) -> None:
    """Types, schemas and fault texts are in it; tests and simulators are not."""
    (wheel,) = packages.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert {"edge_agent/py.typed", "edge_agent/model/faults.toml"} <= set(names)
    assert [name for name in names if name.endswith(".schema.json") or "schema" in name]
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"edge_agent"}


def test_no_address_of_the_building_machine_is_in_a_package(packages: Path, tmp_path: Path) -> None:
    """Neither its folders nor where it took the wheels from."""
    (package,) = packages.glob("edge-agent_*_amd64.deb")
    subprocess.run(["dpkg-deb", "-R", str(package), str(tmp_path)], check=True)
    folder = str(Path(__file__).resolve().parents[3]).encode()
    texts = [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix in {"", ".py", ".cfg", ".json", ".txt"}]
    assert [file for file in texts if folder in file.read_bytes()] == []
    assert list(tmp_path.rglob("direct_url.json")) == []


@pytest.mark.skipif(shutil.which("lintian") is None, reason="lintian is not on this machine (apt-get install lintian)")
def test_lintian_finds_no_error(packages: Path) -> None:
    """What Debian's checker calls an error is mended, or said in the overrides with its reason."""
    (package,) = packages.glob("edge-agent_*_amd64.deb")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error", str(package)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(_REASON is not None, reason=str(_REASON))
def test_the_offline_archive_installs_without_a_network(packages: Path, tmp_path: Path) -> None:
    """In a clean root without pip, in a network with nobody in it: installed, the next version beside it, and back; a damaged archive is refused."""
    root = CleanRoot(tmp_path)
    (archive,) = packages.glob("*-offline-x86_64.tar")
    with tarfile.open(archive) as packed:
        packed.extractall(root.path / "root", filter="data")
    place = f"/root/{archive.stem}"
    inside = root.path / place.lstrip("/")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-n", *root.command(*words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    done = run(f"{place}/install.sh")
    assert done.returncode == 0, done
    assert "nothing runs before there is a configuration" in done.stdout
    version = (inside / "VERSION").read_text().strip()
    assert run("/usr/local/bin/edge-agent", "--version").stdout == f"edge-agent {version}\n"
    assert root.told() == ["daemon-reload", "is-active --quiet edge-agent.service"]
    (inside / "VERSION").write_text("0.9.0\n")
    assert "damaged" in run(f"{place}/install.sh").stderr
    sums = (inside / "SHA256SUMS").read_text()
    (inside / "SHA256SUMS").write_text("".join(line for line in sums.splitlines(keepends=True) if not line.endswith("  VERSION\n")))
    assert run(f"{place}/install.sh").returncode == 0
    assert (root.path / "opt/edge-agent").readlink() == Path("/opt/edge-agent-0.9.0")
    assert run(f"{place}/install.sh", "--back").returncode == 0
    assert (root.path / "opt/edge-agent").readlink() == Path(f"/opt/edge-agent-{version}")
    assert run("/usr/local/bin/edge-agent", "--version").returncode == 0
