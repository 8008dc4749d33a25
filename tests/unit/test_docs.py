"""The pages that are written from the code must be those that the code writes now."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_catalogue_of_events_is_current():
    spec = importlib.util.spec_from_file_location("event_catalogue", DOCS / "event_catalogue.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == script.PAGE.read_text(), "docs/events.md is stale: run `make docs`"
