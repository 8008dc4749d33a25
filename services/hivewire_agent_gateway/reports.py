"""Telling the broker, in the name of a remote agent, how the sessions of its tasks go."""

from typing import Any

import asyncpg
import msgspec
import structlog

from hivewire.commands import broker
from hivewire.errors import HivewireError, NotReachable
from hivewire.subjects import BROKER
from hivewire.views import TaskBrief
from hivewire_agent_gateway.rows import SQL
from hivewire_agent_gateway.sessions.records import Report, Reported
from hivewire_service.deputy import Deputy
from hivewire_service.service import Service
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()


class Reporter:
    """Reports until the broker answered. A start or a progress that gets lost does no harm; an end is reported again
    after a restart."""

    def __init__(self, service: Service, deputy: Deputy) -> None:
        self._service = service
        self._deputy = deputy

    async def report(self, report: Report) -> None:
        """Tell the broker. Whatever it answers, it knows."""
        try:
            row = await self._service.store.pool.fetchrow(SQL.session, report.session_id)
        except CONNECTION_ERRORS as error:
            log.warning("session not reported, it is tried again after a restart", error=str(error))
            return
        assert row is not None
        verb, data = _command(report, row)
        try:
            await self._deputy.command_as(row["agent_id"], BROKER, verb, data, TaskBrief, timeout_s=None)
        except NotReachable:
            return
        except HivewireError as error:
            log.info("the broker refused a report", session=report.session_id, verb=verb, reason=str(error))
        if report.what == "end":
            self._service.observe(Reported(report.session_id))


def _command(report: Report, row: asyncpg.Record) -> tuple[str, msgspec.Struct]:
    attempt: dict[str, Any] = {
        "task_id": row["task_id"],
        "attempt": row["task_attempt"],
        "instance": row["instance"],
    }
    if report.what == "start":
        return "start", broker.Start(**attempt)
    if report.what == "progress":
        return "progress", broker.Progress(**attempt, progress=report.progress, message=report.text)
    if row["state"] == "completed":
        return "complete", broker.Complete(**attempt, result=msgspec.Raw((row["response"] or "null").encode()))
    return "fail", broker.Fail(**attempt, error=row["error"] or f"its session was {row['state']}")
