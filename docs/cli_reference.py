"""Writes the reference of the commands from the command tree. `make docs` runs it."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from hivewire.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
INTRODUCTION = """\
<!-- Written by `make docs` from the commands themselves. -->

"""


def page() -> str:
    """The whole page."""
    command = typer.main.get_command(app)
    context = command.make_context("hivewire", ["--help"], resilient_parsing=True)
    lines = get_docs_for_click(obj=command, ctx=context, name="hivewire", title="Commands").splitlines()
    return INTRODUCTION + "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
