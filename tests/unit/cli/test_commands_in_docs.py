"""What the documentation shows but no test runs (what takes long, or needs a container engine) has the form that it needs:
its commands, their options and the targets of make exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from hivewire.cli.app import app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .+$", re.MULTILINE)
INLINE = re.compile(r"`((?:\.venv/bin/)?hivewire [^`]+|make [a-z-]+)`")
COMMAND = re.compile(r"(?:^|[\s(])(?:\.venv/bin/)?(hivewire [a-z][^\n|&;)`]*)")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TREE = typer.main.get_command(app)


def shown(page: Path) -> list[str]:
    """The commands of a page, in its blocks and in its sentences."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [body for language, body in FENCED.findall(text) if language in {"sh", "console"}]
    rest = FENCED.sub("", text)
    code = [*blocks, *INDENTED.findall(rest), *INLINE.findall(rest)]
    return [found.strip() for part in code for found in COMMAND.findall(part)]


def problem(line: str) -> str | None:
    """What is wrong with a command, if anything is."""
    words = shlex.split(line.replace("'", "").replace('"', ""), comments=True)[1:]
    command = TREE
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    if command is TREE:
        return f"there is no command {words[0]}"
    listed = getattr(command, "commands", {}).get("show")
    options = {name for one in (command, listed) if one for parameter in one.params for name in parameter.opts}
    given = {word for word in words[: words.index("--") if "--" in words else None] if re.match(r"--[a-z]", word)}
    unknown = sorted(given - options - {"--help"})
    return f"{', '.join(unknown)} is unknown" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist_with_their_options(page: Path):
    assert [(line, problem(line)) for line in shown(page) if problem(line)] == []


def test_they_are_found_and_a_wrong_one_is_noticed():
    assert len(shown(ROOT / "README.md")) > 30
    assert problem("hivewire submit x --needs y") is None
    assert problem("hivewire agent exec --id x -- ./run --fast") is None
    assert "--need" in problem("hivewire submit x --need y")
    assert "submitt" in problem("hivewire submitt x")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_targets_of_make_exist(page: Path):
    text = page.read_text()
    named = re.findall(r"`make ([a-z-]+)|^    make ([a-z-]+)", text, re.MULTILINE)
    assert {one or other for one, other in named} <= TARGETS
