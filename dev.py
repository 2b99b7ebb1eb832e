#!/usr/bin/env python3
"""One door for whoever works on edge-agent: sets up .venv from the hash lock by itself, then does what was asked.

    python3 dev.py demo [ARGS]     the demo line, live (see --help for --once, --speed, --faults)
    python3 dev.py test [ARGS]     the whole test suite (arguments go to pytest)
    python3 dev.py faults [ARGS]   the fault bench, minutes of it; --long: an hour (docs/how-to/faults.md)
    python3 dev.py opcua-faults [ARGS]   OPC UA servers that misbehave, four minutes of it
    python3 dev.py modbus-faults [ARGS]   Modbus devices that misbehave, four minutes of it
    python3 dev.py interop [ARGS]  against other makes: node-opcua and Eclipse Tahu (need npm), libmodbus (needs a C compiler), pysparkplug
    python3 dev.py bench [ARGS]    what a sample costs; --quick: less than a minute (benchmarks/README.md)
    python3 dev.py bench-peers [ARGS]   the same through other programs, side by side, half an hour of it (benchmarks/peers/README.md)
    python3 dev.py ux [ARGS]       what needs tools of the system: the status page in a browser, promtool, units, packages in a clean root
    python3 dev.py packages [ARGS] .deb and offline archives for amd64 and arm64, into dist/
    python3 dev.py events          what proves the catalogue: one line per event type, edge case and mistake
    python3 dev.py golden [ARGS]   the golden traces written anew from their stories, with a diff to review; --check
    python3 dev.py check           format, lint, types, import floors, generated files, no call that could write to a PLC
    python3 dev.py docs            the handbook as pages with a search, for reading offline
    python3 dev.py audit           known vulnerabilities of the dependencies, and the bill of materials (SBOM)
    python3 dev.py setup           only the set-up
    python3 dev.py lock            resolve the lock files anew from pyproject.toml

Needs Python 3.11 or newer with pip; works as root or not, with or without python3-venv and make.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
LOCKS = {"run": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}


def main(argv: list[str]) -> int:
    """Do one verb; return its exit code."""
    verbs = {
        "demo": demo,
        "test": test,
        "faults": faults,
        "opcua-faults": opcua_faults,
        "modbus-faults": modbus_faults,
        "interop": interop,
        "golden": golden,
        "ux": ux,
        "packages": packages,
        "docs": docs,
        "audit": audit,
        "events": events,
        "bench": bench,
        "bench-peers": bench_peers,
        "check": check,
        "setup": setup_all,
        "lock": lock,
    }
    if not argv or argv[0] not in verbs:
        print(__doc__)
        return 2
    if sys.version_info < (3, 11):
        print(f"edge-agent needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    return verbs[argv[0]](argv[1:])


def demo(args: list[str]) -> int:
    """Play the demo line; it says how long the first event took, the set-up included."""
    os.environ["EDGE_AGENT_DEMO_BEGAN"] = str(time.monotonic())
    setup("run")
    return run("-m", "edge_agent", "demo", *args)


BESIDE = {
    "end to end": ("tests/e2e",),
    "drivers": ("tests/opcua", "tests/opcua_faults", "tests/modbus", "tests/modbus_faults", "tests/contract"),
}
"""Tests that mostly wait for plants and devices: each lane is a process of its own beside the other tests."""


def test(args: list[str]) -> int:
    """Run the test suite; what it could not test is printed at its end.

    Without arguments some lanes run beside the others, and tell what they have to when these are over.
    """
    setup("dev")
    need_mosquitto()
    if args:
        return run("-m", "pytest", *args)
    with contextlib.ExitStack() as stack:
        lanes = {name: stack.enter_context(_Lane(folders)) for name, folders in BESIDE.items()}
        codes = [run("-m", "pytest", *(f"--ignore={folder}" for folders in BESIDE.values() for folder in folders))]
        for name, lane in lanes.items():
            codes.append(lane.wait())
            print(f"{name}:", lane.told(), sep="\n", flush=True)
    return max(codes)


class _Lane:
    """One pytest beside others; what it prints is kept until it is asked for, and it does not outlive the block."""

    def __init__(self, folders: tuple[str, ...]) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the lane
        command = [str(PYTHON), "-m", "pytest", *folders, "-p", "no:cacheprovider"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._out, stderr=subprocess.STDOUT)

    def __enter__(self) -> _Lane:  # noqa: PYI034 - Self is younger than the Python that is told so
        return self

    def wait(self) -> int:
        """Return its exit code when it is over."""
        return self._process.wait()

    def told(self) -> str:
        """Return what it has printed."""
        self._out.seek(0)
        return self._out.read().decode("utf-8", "replace")

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._out.close()


def faults(args: list[str]) -> int:
    """Run the fault bench."""
    setup("dev")
    return run("tests/faults/run.py", *args)


def opcua_faults(args: list[str]) -> int:
    """Play every fault of OPC UA servers; the last line says how it went."""
    setup("dev")
    every = "opcua_faults or not opcua_faults"
    return run("-m", "pytest", "tests/opcua_faults", "-m", every, "-p", "no:cacheprovider", "-p", "no:randomly", *args)


def modbus_faults(args: list[str]) -> int:
    """Play everything that Modbus devices do wrong, twenty seeds of each; the last line says how it went."""
    setup("dev")
    every = "modbus_faults or not modbus_faults"
    return run("-m", "pytest", "tests/modbus_faults", "-m", every, "-p", "no:cacheprovider", "-p", "no:randomly", *args)


def bench(args: list[str]) -> int:
    """Measure what a sample costs; the exit code says whether every value was right."""
    setup("dev")
    need_mosquitto()
    return run("-m", "benchmarks.bench", *args)


def bench_peers(args: list[str]) -> int:
    """Measure other programs beside the agent, installed for the occasion; 77 when one could not be had, and all else went well."""
    setup("dev")
    need_mosquitto()
    return run("-m", "benchmarks.peers.run", *args)


NOT_RUN = 77
"""Exit code of what could not be tried, as automake has it: no failure, and no success."""
PYSPARKPLUG = "pysparkplug==0.6.1"


def interop(args: list[str]) -> int:
    """Run the drivers and Sparkplug against other makes: node-opcua's server and Eclipse Tahu's decoder, a device built on libmodbus, and pysparkplug.

    What cannot be had is said; 77 without npm, or when something that there are means for could not be installed, and all else went well.
    """
    setup("dev")
    missing = {"node-opcua and Eclipse Tahu": by_npm(), "libmodbus": libmodbus(), "pysparkplug": pysparkplug()}
    for name, code in missing.items():
        if code is not None:
            print(f"interop: {name} NOT RUN (see above)", flush=True)
    alone = {"libmodbus": "tests/interop/test_libmodbus.py", "pysparkplug": "tests/interop/test_interop_sparkplug.py"}
    without = [test for name, test in alone.items() if missing[name] is None]
    tests = ["tests/interop"] if missing["node-opcua and Eclipse Tahu"] is None else without
    if all(code is not None for code in missing.values()):
        return max(code or 0 for code in missing.values())
    code = run("-m", "pytest", *tests, "-m", "interop", "-p", "no:cacheprovider", *args)
    return code or max(each or 0 for each in missing.values())


def ux(args: list[str]) -> int:
    """Try what needs tools of the system, each part where its tools are there; 77 when one could not be had, and all else went well."""
    setup("dev")
    missing = {folder: tools() for folder, tools in UX.items()}
    for folder, code in missing.items():
        if code is not None:
            print(f"ux: {folder} NOT RUN (see above)", flush=True)
    folders = [folder for folder, code in missing.items() if code is None]
    code = run("-m", "pytest", *folders, "-m", "ux", "-p", "no:cacheprovider", *args) if folders else 0
    return code or max(each or 0 for each in missing.values())


def browser() -> int | None:
    """See that there is Chromium and what drives it; installs both when it may. Returns None, or the exit code of not having them."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print("npm and node are not installed (sudo apt-get install npm)", flush=True)
        return NOT_RUN
    if not shutil.which("chromium") and (not may_install() or not apt_install("chromium") or not shutil.which("chromium")):
        print("Chromium is not installed (sudo apt-get install chromium)", flush=True)
        return NOT_RUN
    return npm_installed(ROOT / "tests" / "ux" / "page", "what drives Chromium")


TOOLS = VENV / "tools"
"""Programs of packages that are unpacked for the tests, and not installed: no service of theirs is ever started."""


def promtool() -> int | None:
    """See that Prometheus' tool, mosquitto's clients and jq are there. Returns None, or the exit code of not having them."""
    os.environ["PATH"] = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("promtool") is None and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        with tempfile.TemporaryDirectory() as place:
            print("fetching promtool (Debian's package prometheus, unpacked only) ...", flush=True)
            fetched = subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=place, check=False, capture_output=True)
            for package in Path(place).glob("prometheus_*.deb") if fetched.returncode == 0 else ():
                subprocess.run(["dpkg-deb", "-x", str(package), place], check=True)
                TOOLS.mkdir(exist_ok=True)
                shutil.copy2(Path(place) / "usr" / "bin" / "promtool", TOOLS / "promtool")
    for tool, package in (("promtool", "prometheus"), ("mosquitto_pub", "mosquitto-clients"), ("jq", "jq")):
        install = tool != "promtool" and shutil.which(tool) is None and may_install()
        if shutil.which(tool) is None and not (install and apt_install("--no-install-recommends", package)):
            print(f"{tool} is not installed (Debian's package {package})", flush=True)
            return NOT_RUN
    return None


def clean_root() -> int | None:
    """Have what makes a clean root, boots one, and a broker, where we may; each test says what it cannot do without."""
    need_mosquitto()
    for tool, package in (
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("podman", "podman"),
        ("runc", "runc"),
    ):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin") and may_install():
            print(f"installing {package} for the tests ...", flush=True)
            apt_install(package)
    return None


UX = {"tests/ux/page": browser, "tests/ux/monitoring": promtool, "tests/ux/install": clean_root}
"""What `ux` tries: the folder of its tests, and what sees to its tools."""


def npm_installed(folder: Path, what: str) -> int | None:
    """Install what a package.json asks for beside it; returns None when it is there, else the exit code of not having it."""
    wanted_, note = (folder / "package.json").read_text(), folder / "node_modules" / ".installed"
    if not note.exists() or note.read_text() != wanted_:
        print(f"installing {what} for the tests ...", flush=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--omit=dev", "--loglevel=error"]
        if subprocess.run(command, cwd=folder, check=False).returncode != 0:
            print(f"npm could not install {what}", file=sys.stderr)
            return NOT_RUN
        note.write_text(wanted_)
    return None


def by_npm() -> int | None:
    """Install what npm has beside the tests; returns None when it is there, else the exit code of not having it."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        print("npm and node are not installed (sudo apt-get install npm)", flush=True)
        return NOT_RUN
    folder = ROOT / "tests" / "interop"
    return npm_installed(folder, "node-opcua's server and Eclipse Tahu's decoder (72 MB, half a minute)")


def pysparkplug() -> int | None:
    """Give the other make's Sparkplug decoder a Python of its own: it wants an MQTT library older than ours. Returns as `by_npm` does."""
    place = ROOT / "tests" / "interop" / "node_modules" / ".pysparkplug"
    python, note = place / "bin" / "python", place / ".installed"
    if note.exists() and note.read_text() == PYSPARKPLUG:
        return None
    print("installing pysparkplug for the tests ...", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=False).returncode == 0
    if not made or subprocess.run([str(python), "-m", "pip", "install", "-q", PYSPARKPLUG], check=False).returncode != 0:
        print("pysparkplug could not be installed", file=sys.stderr)
        return NOT_RUN
    note.write_text(PYSPARKPLUG)
    return None


def libmodbus() -> int | None:
    """See that a device can be built on libmodbus; installs what it needs when we may. Returns None, or the exit code of not having it."""

    def there() -> bool:
        tools = shutil.which("cc") and shutil.which("pkg-config")
        return bool(tools) and subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode == 0

    if there():
        return None
    packages = "libmodbus-dev gcc libc6-dev pkg-config"
    if not may_install():
        print(f"libmodbus or a compiler is not installed (sudo apt-get install {packages})", flush=True)
        return 0
    print("installing libmodbus and a compiler for the tests ...", flush=True)
    if not apt_install(*packages.split()) or not there():
        print("libmodbus could not be installed", file=sys.stderr)
        return NOT_RUN
    return None


def packages(args: list[str]) -> int:
    """Build what is installed on gateways; the handbook is in it when `dev.py docs` has made it."""
    setup("dev")
    return run("packaging/build.py", *args)


def events(_: list[str]) -> int:
    """Run what proves the catalogue of events and print its verdicts."""
    setup("dev")
    need_mosquitto()
    return run("tests/events/prove.py")


def golden(args: list[str]) -> int:
    """Write the golden traces anew and show what changed."""
    setup("dev")
    return run("tests/golden/regenerate.py", *args)


def check(_: list[str]) -> int:
    """Run every check that needs no running program; all of them, then fail if one did."""
    setup("dev")
    sources = ["edge_agent", "simulators", "tests", "docs", "packaging", "benchmarks", "dev.py"]
    steps = [
        ["-m", "ruff", "format", "--check", *sources],
        ["-m", "ruff", "check", *sources],
        ["-m", "mypy"],
        ["-c", "from importlinter.cli import lint_imports_command as c; c()"],
        ["tests/guard/only_reads.py"],
    ]
    failed = [step for step in steps if run(*step) != 0]
    for step in failed:
        print(f"check failed: {' '.join(step)}", file=sys.stderr)
    if not failed:
        print("check: format, lint, types, import floors and the look for writing calls are clean")
    return 1 if failed else 0


def docs(args: list[str]) -> int:
    """Build the handbook: pages with a search, for reading without a network. Warnings are errors.

    It lands in the package (edge_agent/handbook/), so that a wheel that is built afterwards has it, and ``edge-agent docs`` finds it.
    """
    setup("dev")
    venv, lock_file, out = ROOT / ".venv-docs", ROOT / "requirements-docs.lock", ROOT / "edge_agent" / "handbook"
    python = beside(venv, lock_file)
    if run("docs/reference/generate.py") != 0:
        return 1
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as trees:
        command = [
            str(python),
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-d",
            trees,
            "-c",
            "docs",
            ".",
            str(out),
            *args,
        ]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code == 0:
        shutil.rmtree(out / "_sources", ignore_errors=True)
        pages = sum(1 for _ in out.rglob("*.html"))
        print(f"docs: {pages} pages; edge-agent docs says where, edge_agent/handbook/docs/index.html is the first")
    return code


def audit(_: list[str]) -> int:
    """Look for known vulnerabilities of what the run lock names, and write the bill of materials; 77 when the advisories cannot be reached."""
    setup("dev")
    tools = beside(ROOT / ".venv-audit", ROOT / "requirements-audit.lock").parent.parent
    product = beside(ROOT / ".venv-product", LOCKS["run"]).parent.parent
    return run("packaging/audit.py", str(tools), str(product))


def beside(venv: Path, lock_file: Path) -> Path:
    """Make an environment of its own for what does not belong into .venv; return its Python. A second time this is one comparison."""
    python, note = venv / "bin" / "python", venv / ".lock"
    if not note.exists() or note.read_text() != lock_file.read_text():
        print(f"setting up {venv.name} from {lock_file.name} ...", flush=True)
        subprocess.run([str(PYTHON), "-m", "venv", "--clear", str(venv)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*install, "-r", str(lock_file)], check=True)
        note.write_text(lock_file.read_text())
    return python


def setup_all(_: list[str]) -> int:
    """Set up everything for development."""
    setup("dev")
    return 0


def lock(_: list[str]) -> int:
    """Resolve the lock files anew."""
    setup("dev")
    common = [
        "-m",
        "piptools",
        "compile",
        "--quiet",
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-emit-trusted-host",
        "--no-emit-find-links",
        "--no-header",
    ]
    common += ["--strip-extras", "--no-annotate", "--upgrade", "--allow-unsafe"]
    code = run(*common, "--extra", "demo", "--extra", "consumer", "--output-file", str(LOCKS["run"]), "pyproject.toml")
    return code or run(*common, "--extra", "demo", "--extra", "dev", "--output-file", str(LOCKS["dev"]), "pyproject.toml")


def setup(which: str) -> None:
    """Make .venv hold what the lock says; a second time this is one comparison. The dev lock holds everything of the run lock."""
    if PYTHON.exists() and any(stamp(each).exists() and stamp(each).read_text() == wanted(each) for each in {which, "dev"}):
        return
    print(f"setting up {VENV.name} from {LOCKS[which].name} (about 20 s the first time) ...", flush=True)
    pip = make_venv()
    subprocess.run(
        [*pip, "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(LOCKS[which])], check=True
    )
    link_source()
    stamp(which).write_text(wanted(which))


def link_source() -> None:
    """Let the venv run the sources of this folder: ``import edge_agent`` from anywhere, and .venv/bin/edge-agent."""
    ask = [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (packages / "edge-agent-sources.pth").write_text(f"{ROOT}\n")
    command = PYTHON.parent / "edge-agent"
    command.write_text(f"#!{PYTHON}\nfrom edge_agent.__main__ import main\n\nmain()\n")
    command.chmod(0o755)


def stamp(which: str) -> Path:
    """Where the set-up notes which lock it has installed."""
    return VENV / f".{which}-lock"


def wanted(which: str) -> str:
    """What that note must say."""
    return hashlib.sha256(LOCKS[which].read_bytes() + sys.version.encode() + str(ROOT).encode()).hexdigest()


def make_venv() -> list[str]:
    """Create .venv if need be and return the pip command for it; works without the python3-venv package."""
    own = [str(PYTHON), "-m", "pip"]
    if PYTHON.exists() and subprocess.run([*own, "--version"], capture_output=True, check=False).returncode == 0:
        return own
    made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode == 0:
        return own
    bare = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    outer = [sys.executable, "-m", "pip"]
    if bare.returncode != 0 or subprocess.run([*outer, "--version"], capture_output=True, check=False).returncode != 0:
        install_pip()
        return make_venv()
    return [*outer, "--python", str(PYTHON)]


def install_pip() -> None:
    """Without pip nothing can be installed: do it when we may, else print the one line that does."""
    command = ["apt-get", "install", "-y", "python3-pip", "python3-venv"]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        print("this Python has no pip; running: " + " ".join(command), flush=True)
        subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return
    sys.exit(f"this Python ({sys.executable}) has no pip, which the set-up needs. Run once:\n    sudo {' '.join(command)}")


def need_mosquitto() -> None:
    """The tests speak to a real mosquitto; install it when we may. Without it they say what they could not test."""
    if shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        return
    if not may_install():
        print(
            "mosquitto is not installed: tests that need it will be counted as not run (sudo apt-get install mosquitto)", flush=True
        )
        return
    print("installing mosquitto for the tests ...", flush=True)
    if not apt_install("mosquitto"):
        print("mosquitto could not be installed: tests that need it will be counted as not run", flush=True)


def may_install() -> bool:
    """Whether this machine has apt-get and we are root."""
    return bool(shutil.which("apt-get")) and hasattr(os, "geteuid") and os.geteuid() == 0


def apt_install(*packages: str) -> bool:
    """Install packages of the distribution; returns whether that went well, and says what did not."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", *packages]):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run(command, check=False, env=environment, **quiet).returncode != 0:
            print(f"could not run {' '.join(command)}", flush=True)
            return False
    return True


def run(*arguments: str) -> int:
    """Run the venv's Python in the project's folder; Ctrl-C goes to the program, not to us."""
    process = subprocess.Popen([str(PYTHON), *arguments], cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
