"""The documentation says what is so: its commands work, its links lead somewhere, its diagrams are those of the code."""

import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from e2e.up import Up
from e2e.walk import walk

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
GENERATORS = sorted(script.stem for script in (ROOT / "docs").glob("*.py"))
LINK = re.compile(r"\]\(([^)\s]+)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_the_tour_of_the_readme_works(up: Up, tmp_path):
    tour = (ROOT / "README.md").read_text().partition("## A quick tour")[2].partition("\n## What you can rely on")[0]
    tour = tour.replace("localhost:8600", f"localhost:{up.http_port}")
    told, errors, failed = walk(up, tour, tmp_path)
    assert len(failed) == 1, errors
    assert "--payload null" in failed[0]
    assert told.splitlines()[0] == "6"
    for part in ("task.completed", "latin", "dead_lettered", "{'verdict': 'ok', 'pr': 42}", "all is well", "forty-two"):
        assert part in told


@pytest.mark.parametrize("script", GENERATORS)
def test_generated_pages_are_what_the_code_says(script: str):
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.PAGE.read_text() == generator.page(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    local = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in local if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether there is the file, and in it the heading that a link names."""
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


@cache
def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_promise_names_tests_that_exist():
    named = TEST.findall((ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 20
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in _text(ROOT / file)]
    assert missing == []


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
