"""Which function deals with a task, and what it may say about it. Async ones run in the loop, others in a thread."""

import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivewire import fields, limits
from hivewire.errors import BadUsage, HivewireError

Handler = Callable[..., Any]
TRACEBACK_FRAMES = 3

_OWN_CODE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler and the capabilities that it is for."""

    function: Handler
    needs: frozenset[str]
    is_async: bool


class Handlers:
    """The handlers of an agent."""

    def __init__(self) -> None:
        self._handlers: list[Registered] = []

    @property
    def capabilities(self) -> set[str]:
        """All that some handler is for."""
        return {need for handler in self._handlers for need in handler.needs}

    def add(self, function: Handler, needs: Iterable[str] = ()) -> None:
        """Add a handler for tasks that need at least `needs`.

        Raises:
            BadUsage: there is one for the same needs.
        """
        wanted = normal(needs)
        if any(handler.needs == wanted for handler in self._handlers):
            for_what = f"for {', '.join(sorted(wanted))}" if wanted else "without needs"
            raise BadUsage(f"the agent has two task handlers {for_what}: name what each needs")
        self._handlers.append(Registered(function, wanted, inspect.iscoroutinefunction(function)))

    def choose(self, required: Sequence[str]) -> Registered | None:
        """The most specific handler whose needs are among the task's."""
        wanted = normal(required)
        fitting = [handler for handler in self._handlers if handler.needs <= wanted]
        return max(fitting, key=lambda handler: len(handler.needs), default=None)


def normal(capabilities: Iterable[str]) -> frozenset[str]:
    """Capabilities as they are compared: without case and surrounding space."""
    if isinstance(capabilities, str):
        capabilities = (capabilities,)
    return frozenset(map(fields.as_compared, capabilities))


def error_text(error: BaseException) -> str:
    """An exception for the task's history: its type and message, and where it happened."""
    if isinstance(error, HivewireError):
        return storable(str(error))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN_CODE)]
    where = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-TRACEBACK_FRAMES:])
    return storable(f"{type(error).__name__}: {error}{where}")


def storable(text: str) -> str:
    """`text` within the bounds of an error: long ones lose their middle, and what Postgres cannot store is replaced."""
    text = text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(text) <= limits.ERROR_CHARS_MAX:
        return text
    half = limits.ERROR_CHARS_MAX // 2 - 3
    return f"{text[:half]}\n...\n{text[-half:]}"
