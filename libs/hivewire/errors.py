"""The exceptions that users of the SDK and the command line see: one line, what was wrong and what to do."""

from typing import Any, Final

UNPROCESSABLE: Final = 422
"""The HTTP status of a refusal that has no other."""


class HivewireError(Exception):
    """Base of all errors that hivewire raises on purpose. Its text is one line for people."""


class BadUsage(HivewireError):
    """The call itself is wrong: a malformed id, an unknown option, a file that cannot be read."""


class NotReachable(HivewireError):
    """NATS, Postgres or a service did not answer."""


class RefusedError(HivewireError):
    """A service answered no.

    `status` is the HTTP status that the same refusal has at the HTTP door; `detail` holds machine-readable facts.
    """

    def __init__(self, error: str, status: int = UNPROCESSABLE, detail: dict[str, Any] | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.status = status
        self.detail = detail or {}


class TaskFailed(HivewireError):
    """The awaited task ended `failed` or `dead_lettered`."""


class TaskCancelled(HivewireError):
    """The awaited task was cancelled."""


class NoAnswer(HivewireError):
    """Nobody answered the question in time, or nobody ever will."""


class Permanent(HivewireError):
    """Raised by a task handler: the task fails without another attempt."""
