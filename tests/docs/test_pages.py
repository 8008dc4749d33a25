"""The commands of the documentation work, as they stand on their page and in their order. Those of the README are in
e2e/test_docs.py, and what cannot be run here is checked for its form there."""

from pathlib import Path

import pytest

from e2e.up import Up
from e2e.walk import BLOCK, to_fail, walk

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(up: Up, tmp_path, page: Path):
    """Those that the page says fail, and no others, do."""
    text = page.read_text()
    told, errors, failed = walk(up, text, tmp_path)
    assert failed == to_fail(text), told + errors
