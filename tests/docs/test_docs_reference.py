"""The generated pages of the reference say what the code says, and the handbook finds every page."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.cli.handbook import handbook
from edge_agent.model.errors import EdgeAgentError

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(REFERENCE))
from generate import PAGES, configuration  # noqa: E402


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str) -> None:
    """`python docs/reference/generate.py` (and so `make docs`) writes it anew."""
    assert (REFERENCE / page).read_text(encoding="utf-8") == PAGES[page]()


def test_the_reference_of_the_configuration_says_what_a_person_writes() -> None:
    """Durations and sizes have units, required keys are bold, kinds of objects have a heading."""
    page = configuration()
    assert "| `commit_interval` | duration | `100ms` |" in page
    assert "| `max_bytes` | text | `2GiB` |" in page
    assert "| **`wraps`** |" in page
    kinds = set(re.findall(r"^### (.+)$", page, re.MULTILINE))
    assert {"Counter", "Modbus", "Opc ua", "Sparkplug", "Record"} <= kinds


def test_every_page_is_in_the_table_of_contents() -> None:
    """A page that the first one does not lead to is not found by a reader."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {line for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in block.split()}
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert str(name) in listed or str(name.parent / "*") in listed or str(name) == "index", page


def test_the_handbook_of_an_installation_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-agent docs` prints its first page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("<p>")
    handbook(show=False, folder=tmp_path)
    assert capsys.readouterr().out.strip() == str(tmp_path / "docs" / "index.html")


def test_an_installation_without_handbook_says_how_to_get_one(tmp_path: Path) -> None:
    """The message names the remedy."""
    with pytest.raises(EdgeAgentError, match="make docs"):
        handbook(show=False, folder=tmp_path)
    assert CliRunner().invoke(app, ["docs", "--help"]).exit_code == 0
