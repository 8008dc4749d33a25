"""`python -m examples.codebase`: runs the demo, whose exit status is 0 if the hive kept its word."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Coroutine
from pathlib import Path

from rich.console import Console

from examples.codebase.demo import play
from examples.codebase.plan import Plan, plan
from examples.codebase.stage import ProcessEnded
from examples.codebase.tree import packages, standard_library
from hivewire import HivewireError

STOPPED = 130


def main() -> int:
    """Analyse the tree that DEMO_DIR names, else the standard library; the exit status."""
    warnings.simplefilter("ignore", SyntaxWarning)  # the analysed tree's, not ours
    console = Console(highlight=False)
    root = os.environ.get("DEMO_DIR")
    found = packages(Path(root).resolve(), Path(root).resolve().name) if root else standard_library()
    if not found:
        console.print(f"there are no Python files in {root}: set DEMO_DIR to a folder that has some")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="hivewire-demo-"))
    try:
        return _play(folder, plan(found), console)
    finally:
        if os.environ.get("DEMO_KEEP") == "1":
            console.print(f"the hive's data and all logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _play(folder: Path, work: Plan, console: Console) -> int:
    try:
        problems = asyncio.run(_unless_stopped(play(folder, work, console)))
    except asyncio.CancelledError:
        console.print("stopped")
        return STOPPED
    except (ProcessEnded, HivewireError, TimeoutError) as error:
        problems = [str(error) or "it took too long"]
    for problem in problems:
        console.print(problem, style="red", markup=False)
    return 1 if problems else 0


async def _unless_stopped(story: Coroutine[None, None, list[str]]) -> list[str]:
    """Let the first signal begin the clearing up, and no other disturb it."""
    playing = asyncio.ensure_future(story)

    def stop() -> None:
        if not playing.cancelling():
            playing.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await playing


if __name__ == "__main__":
    sys.exit(main())
