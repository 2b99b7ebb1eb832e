"""``--screenshots`` writes the pictures of the documents anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from browser import Browser, browser

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--screenshots", action="store_true", help="write docs/images anew")


@pytest.fixture
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where pictures go: the documents' folder when that is asked for, else one that goes away."""
    if request.config.getoption("--screenshots", default=False):
        IMAGES.mkdir(exist_ok=True)
        return IMAGES
    return tmp_path


@pytest.fixture
async def page() -> AsyncIterator[Browser]:
    """A browser of its own."""
    async with browser() as made:
        yield made
