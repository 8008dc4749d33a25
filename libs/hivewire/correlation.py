"""What belongs together: the correlation that commands carry, and with them all that they cause.

It follows the flow of a program: whatever is sent within `correlated` carries it. The agent SDK sets it around each
handler, so that what an agent submits and asks for a task is correlated with what the task itself is part of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from hivewire import tracing


class Correlation(NamedTuple):
    """What an envelope says of it. `traceparent` is that of W3C Trace Context."""

    correlationid: str | None = None
    traceparent: str | None = None


_NONE = Correlation()
_current: ContextVar[Correlation] = ContextVar("correlation", default=_NONE)


def current() -> Correlation:
    """The correlation of whatever is sent now; the open span goes before what was said of its trace."""
    said = _current.get()
    return said._replace(traceparent=tracing.current() or said.traceparent) if tracing.enabled() else said


@contextmanager
def correlated(correlationid: str | None, traceparent: str | None = None) -> Iterator[None]:
    """Within the context, commands carry this correlation."""
    token = _current.set(Correlation(correlationid, traceparent))
    try:
        yield
    finally:
        _current.reset(token)
