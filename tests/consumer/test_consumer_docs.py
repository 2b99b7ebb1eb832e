"""What the page for integrators shows: each statement runs in both databases, and gives what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_consumer_line import books, line_books  # noqa: F401 - fixtures

from edge_agent.consumer.database import Database

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
BLOCKS = re.findall(r"```sql\n(.*?)```", (PAGES / "consume.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_sql_of_the_page_runs_and_gives_what_it_says(books: Database, block: str) -> None:  # noqa: F811 - the fixture
    """Over the demo line's books; a line `-- gives:` is a row of the answer."""
    said = [tuple(line.removeprefix("-- gives: ").split(" | ")) for line in block.splitlines() if line.startswith("-- gives: ")]
    statement = "\n".join(line for line in block.splitlines() if not line.startswith("--")).strip().removesuffix(";")
    rows = [tuple(_shown(cell) for cell in row) for row in books.read(statement)]
    assert rows == said or not said


def _shown(cell: object) -> str:
    try:
        return f"{float(str(cell)):g}"
    except ValueError:
        return str(cell)


def test_the_page_shows_statements() -> None:
    """The block above is not empty by mistake."""
    assert len(BLOCKS) >= 10
