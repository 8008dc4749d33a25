"""What an agent reports, together: all of one turn of the event loop is one command.

A handler that returns at once has its start and its end in one message, and an agent with many slots that of many.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import TypeVar

import msgspec

from hivewire import codec, limits
from hivewire.commands.broker import Report
from hivewire.connection import Connection
from hivewire.envelope import Envelope
from hivewire.errors import HivewireError, NotReachable, RefusedError
from hivewire.replies import outcome
from hivewire.subjects import BROKER
from hivewire.views import ReportsTaken

T = TypeVar("T")

ENVELOPE_BYTES = 2_048
"""More than the envelope of a batch."""

Done = Callable[[RefusedError | None], None]
"""Called with why a report was refused, or None. It is not called when the connection ends before."""
_Posted = tuple[msgspec.Raw, Done]


class Reporting:
    """Sends reports to the broker, until it replies."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._posted: list[_Posted] = []

    def post(self, report: Report, done: Done) -> None:
        """Send a report, after those that were posted before."""
        if not self._posted:
            # Not in the context of the first report: the command is about others too, and is correlated with none.
            asyncio.get_running_loop().call_soon(self._send, context=Context())
        self._posted.append((codec.raw(report), done))

    def post_alone(self, service: str, verb: str, data: msgspec.Struct, done: Done) -> None:
        """Send a command of its own to another service."""
        try:
            answer = self._connection.post(service, verb, data)
        except NotReachable:
            return  # the connection was closed, we stop
        except RefusedError as error:
            done(error)
            return
        answer.add_done_callback(lambda answer: self._answered_alone(done, answer))

    def _answered_alone(self, done: Done, answer: asyncio.Future[Envelope]) -> None:
        if not answer.cancelled() and not answer.exception():
            taken = _outcome(answer.result(), msgspec.Raw)
            done(taken if isinstance(taken, RefusedError) else None)

    def _send(self) -> None:
        posted, self._posted = self._posted, []
        for batch in self._batches(posted):
            self._send_together(batch)

    def _batches(self, posted: list[_Posted]) -> Iterator[list[_Posted]]:
        room = self._connection.message_bytes_max - ENVELOPE_BYTES
        batch: list[_Posted] = []
        size = 0
        for each in posted:
            size += len(bytes(each[0])) + 1
            if batch and (size > room or len(batch) == limits.REPORTS_MAX):
                yield batch
                batch, size = [], len(bytes(each[0])) + 1
            batch.append(each)
        if batch:
            yield batch

    def _send_together(self, batch: list[_Posted]) -> None:
        try:
            answer = self._connection.post(BROKER, "report_batch", {"reports": [report for report, _ in batch]})
        except NotReachable:
            return  # the connection was closed, we stop
        except RefusedError as error:
            self._refused(batch, error)
            return
        answer.add_done_callback(lambda answer: self._answered(batch, answer))

    def _answered(self, batch: list[_Posted], answer: asyncio.Future[Envelope]) -> None:
        if answer.cancelled() or answer.exception():
            return
        taken = _outcome(answer.result(), ReportsTaken)
        if isinstance(taken, RefusedError):
            self._refused(batch, taken)
            return
        refused = {each.index: RefusedError(each.error, each.status) for each in taken.refused}
        for index, (_, done) in enumerate(batch):
            done(refused.get(index))

    def _refused(self, batch: list[_Posted], error: RefusedError) -> None:
        """What is wrong with one report must not keep the others from being taken."""
        if len(batch) == 1:
            batch[0][1](error)
            return
        for each in batch:
            self._send_together([each])


def _outcome(envelope: Envelope, wanted: type[T]) -> T | RefusedError:
    try:
        return outcome(envelope, wanted)
    except RefusedError as error:
        return error
    except HivewireError as error:
        return RefusedError(str(error), status=500)
