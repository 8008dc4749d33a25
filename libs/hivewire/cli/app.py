"""All commands, and how errors reach people: one line that says what was wrong and what to do."""

import os
from collections.abc import Sequence
from importlib.metadata import version as installed_version

import typer

from hivewire import exit_codes, tracing
from hivewire.cli import (
    agents,
    backup,
    conversations,
    dead,
    doctor,
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
from hivewire.cli.reach import HIVE
from hivewire.errors import HivewireError

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

app = typer.Typer(
    name="hivewire",
    help="Dispatch work to a fleet of agents, and see what becomes of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    *(services, submit, tasks, steering, weighing, phases, initiatives, dead),
    *(conversations, events, agents, sessions, sim, tokens, top, doctor, backup),
):
    group.register(app)


@app.command("version", rich_help_panel=HIVE)
def version() -> None:
    """Print the installed version."""
    say(installed_version("hivewire"))


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
