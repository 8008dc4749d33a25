"""What follows an attempt that did not complete: another one, later or at once, or the dead letters."""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from hivewire import limits
from hivewire.commands.broker import Backoff
from hivewire.events.task import AttemptEnd, TaskDeadLettered, TaskRetry
from hivewire_broker.draft import Draft
from hivewire_broker.task import Attempt, Task

_SHARE_BYTES: Final = 4

REASONS: Final = {
    "failed": "its attempts are used up",
    "timed_out": "its attempts are used up; the last one timed out",
    "lost": f"the agents of {limits.LOST_ATTEMPTS_MAX} attempts were lost",
}


def backoff_s(backoff: Backoff, failures: int, share: float) -> float:
    """Seconds until the next attempt after `failures` failed ones; `share` in [0, 1) picks a point of the jitter."""
    pause_s = min(backoff.max_s, backoff.base_s * backoff.factor ** (failures - 1))
    return pause_s * (1.0 - backoff.jitter * share)


def jitter_share(task_id: str, attempt: int) -> float:
    """A number in [0, 1) that is always the same for an attempt and has no pattern over attempts."""
    digest = hashlib.blake2b(f"{attempt}.{task_id}".encode(), digest_size=_SHARE_BYTES).digest()
    return float(int.from_bytes(digest) / 256**_SHARE_BYTES)


def after_attempt(draft: Draft, task: Task, ended: AttemptEnd, error: str, now: datetime) -> None:
    """Give the task another attempt, or end it when its retries are used up or its agents were lost too often."""
    attempt = task.attempts[-1]
    if ended == "lost":
        if task.lost_count + 1 >= limits.LOST_ATTEMPTS_MAX:
            dead_letter(draft, task, REASONS[ended], now, attempt=attempt, ended=ended, error=error)
        else:
            _retry(draft, task, ended, error, now, retry_at=now)
    elif task.retries_used >= task.max_retries:
        dead_letter(draft, task, REASONS[ended], now, attempt=attempt, ended=ended, error=error)
    else:
        share = jitter_share(task.task_id, attempt.number)
        pause_s = backoff_s(task.backoff, task.retries_used + 1, share)
        _retry(draft, task, ended, error, now, retry_at=now + timedelta(seconds=pause_s))


def dead_letter(
    draft: Draft,
    task: Task,
    reason: str,
    now: datetime,
    *,
    attempt: Attempt | None = None,
    ended: AttemptEnd | None = None,
    error: str = "",
) -> None:
    """End the task among the dead letters."""
    draft.add(
        TaskDeadLettered(
            task_id=task.task_id,
            reason=reason,
            dead_lettered_at=now,
            attempt=attempt.number if attempt else 0,
            agent_id=attempt.agent_id if attempt else None,
            ended=ended,
            error=error,
        ),
        "dead_lettered",
    )


def _retry(draft: Draft, task: Task, ended: AttemptEnd, error: str, now: datetime, *, retry_at: datetime) -> None:
    attempt = task.attempts[-1]
    draft.add(
        TaskRetry(
            task_id=task.task_id,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            ended=ended,
            error=error,
            retry_at=retry_at,
            ended_at=now,
            retries_used=task.retries_used + (ended != "lost"),
            lost_count=task.lost_count + (ended == "lost"),
        ),
        "pending",
    )
