"""What the documents show works: configuration examples load, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.config.load import load

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("systemd/*.md")])
_FILE = re.compile(r"```yaml\n# (devices|units)/(\S+)\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"edge-agent ([a-z][a-z-]*)(?= |`|$)")
_TARGET = re.compile(r"make ([a-z][a-z-]*)")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")

AGENT = """\
version: 1
agent: gw1
site: [acme, plant1]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
"""


@pytest.mark.parametrize("document", DOCS, ids=lambda document: document.name)
def test_the_configuration_examples_of_a_document_load(document: Path, tmp_path: Path) -> None:
    """Device and unit files that a document shows are a valid configuration together."""
    examples = _FILE.findall(document.read_text(encoding="utf-8"))
    (tmp_path / "agent.yaml").write_text(AGENT, encoding="utf-8")
    for folder, name, text in examples:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    config = load(tmp_path)
    assert len(config.devices) + len(config.units) == len(examples)


@pytest.mark.parametrize("document", DOCS, ids=lambda document: document.name)
def test_the_commands_of_a_document_exist(document: Path) -> None:
    """Every `edge-agent VERB` in code and every `make TARGET` can be run."""
    text = "\n".join(re.findall(r"```.*?```|`[^`]+`", document.read_text(encoding="utf-8"), re.DOTALL))
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(_COMMAND.findall(text)) - known == set()
    assert set(_TARGET.findall(text)) - targets == set()


@pytest.mark.parametrize("document", DOCS, ids=lambda document: document.name)
def test_the_links_of_a_document_lead_somewhere(document: Path) -> None:
    """A relative link names a file that exists."""
    missing = [link for link in _LINK.findall(document.read_text(encoding="utf-8")) if not (document.parent / link).exists()]
    assert missing == []


def test_help_names_every_verb() -> None:
    """The list of commands is what a new user sees first."""
    shown = CliRunner().invoke(app, ["--help"]).output
    for verb in ("run", "check", "schema", "demo"):
        assert f"  {verb}" in shown


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda lock: lock.name)
def test_a_lock_file_holds_packages_and_hashes_only(lock: Path) -> None:
    """Neither a folder nor an index of the machine that resolved it gets to other machines with it."""
    allowed = re.compile(r"[a-z0-9-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|#.*|")
    assert [line for line in lock.read_text(encoding="utf-8").splitlines() if not allowed.fullmatch(line)] == []


def test_the_installed_command_survives_ctrl_c_in_its_first_moment() -> None:
    """Ctrl-C while the imports run says one word and ends with 130, by the wheel's entry as by the one that dev.py writes."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["edge-agent"]
    module, _, name = entry.partition(":")
    script = f"from {module} import {name}"
    assert script in (ROOT / "dev.py").read_text(encoding="utf-8")
    interrupted = (
        "import sys\nclass Finder:\n    def find_spec(self, name, *_):\n        if name == 'typer':\n            raise KeyboardInterrupt\n"
        f"sys.meta_path.insert(0, Finder())\n{script}\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "stopped\n", "")
