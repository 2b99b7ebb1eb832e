"""How the handbook is built (``make docs``): every Markdown file of the project, as pages with a search that needs no network."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "edge-agent"
author = "the edge-agent authors"
release = re.search(r'__version__ = "(.+)"', (ROOT / "edge_agent" / "__init__.py").read_text(encoding="utf-8"))[1]  # type: ignore[index]
extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "systemd/*.md", "benchmarks/*.md", "packaging/*.md"]
exclude_patterns = ["**/node_modules/**", ".venv*/**", "build/**"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = f"edge-agent {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"footer_icons": []}
copybutton_prompt_text = "$ "
nitpicky = True
suppress_warnings = ["myst.header", "myst.xref_missing", "misc.highlighting_failure"]
# myst.xref_missing: a link to a folder or a program of the sources leads nowhere in the handbook; tests/docs sees that it exists
