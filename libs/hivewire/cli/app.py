"""All commands, and how errors reach people: one line that says what was wrong and what to do."""

import os
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hivewire import exit_codes, tracing
from hivewire.cli import (
    INTERRUPTED,
    agents,
    backup,
    conversations,
    dead,
    doctor,
    documents,
    events,
    initiatives,
    phases,
    services,
    sessions,
    sim,
    steering,
    submit,
    tasks,
    tokens,
    top,
    weighing,
)
from hivewire.cli.output import complain, say
from hivewire.cli.reach import HIVE, PANELS
from hivewire.errors import HivewireError


class Commands(TyperGroup):
    """Lists what belongs together side by side, whether it is a command or a group of commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands."""
        return sorted(super().list_commands(ctx), key=self._place)

    def _place(self, name: str) -> int:
        panel = getattr(self.commands[name], "rich_help_panel", None)
        return PANELS.index(panel or HIVE)


app = typer.Typer(
    name="hivewire",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    *(services, submit, tasks, dead, steering, weighing, agents, sessions),
    *(phases, initiatives, conversations, sim, events, top, doctor, tokens, backup, documents),
):
    group.register(app)


@app.command("version", rich_help_panel=HIVE)
def version() -> None:
    """Print the installed version."""
    say(installed_version("hivewire"))


def _tell_version(asked: bool) -> None:
    if asked:
        version()
        raise typer.Exit


@app.callback()
def _every_command(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the installed version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Dispatch work to a fleet of agents, and see what becomes of it."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code."""
    tracing.set_up("-".join(arguments[1:2] if arguments[:1] == ["serve"] else arguments[:1]))
    try:
        status = app(list(arguments), prog_name="hivewire", standalone_mode=False)
    except HivewireError as error:
        return _failed(error, str(error), exit_codes.of(error))
    except typer.TyperException as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        text = f"unexpected {type(error).__name__}: {error}; HIVEWIRE_DEBUG=1 shows where"
        return _failed(error, text, exit_codes.WORK_FAILED)
    return status if isinstance(status, int) else exit_codes.DONE


def _misused(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    text = error.format_message().rstrip(".")
    if not text:
        return exit_codes.BAD_USAGE  # without arguments the help was printed
    hint = f"; see `{context.command_path} --help`" if context else ""
    return _failed(error, text + hint, exit_codes.BAD_USAGE)


def _failed(error: Exception, text: str, status: int) -> int:
    if os.environ.get("HIVEWIRE_DEBUG") == "1":
        raise error
    complain(f"hivewire: {text}")
    return status
