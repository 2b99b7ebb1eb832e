"""What a document shows as commands works: every line of a block marked `sh run` is run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```sh run\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHOWN = {
    document: [
        line for block in _BLOCK.findall(document.read_text(encoding="utf-8")) for line in block.splitlines() if line.strip()
    ]
    for document in sorted((ROOT / "docs").rglob("*.md"))
}
RUN = [document for document, lines in SHOWN.items() if lines]


def test_documents_with_commands_are_found() -> None:
    """The look itself works."""
    assert {document.stem for document in RUN} >= {"first-configuration", "watch-a-gateway", "move-tag-lists"}


@pytest.mark.parametrize("document", RUN, ids=lambda document: document.stem)
def test_the_commands_of_a_document_work(document: Path, tmp_path: Path) -> None:
    """Each ends with 0."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "edge-agent"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m edge_agent "$@"\n')
    command.chmod(0o755)
    (tmp_path / "work").mkdir()
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for line in SHOWN[document]:
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
