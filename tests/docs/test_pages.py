"""The commands of the tutorial and of the how-to pages work, as they stand there and in their order."""

from pathlib import Path

import pytest

from e2e.up import Up
from e2e.walk import to_fail, walk

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(up: Up, tmp_path, page: Path):
    """Those that the page says fail, and no others, do."""
    text = page.read_text()
    told, errors, failed = walk(up, text, tmp_path)
    assert failed == to_fail(text), told + errors
