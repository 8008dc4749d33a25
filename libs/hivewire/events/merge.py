"""Events of merges of a task's work, from the service that merges."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class MergeEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of merges."""

    key: ClassVar[str] = "task_id"

    task_id: str
    agent_id: str | None = None
    worktree_id: str | None = None
    target_branch: str | None = None


class MergeQueued(MergeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work waits to be merged."""

    type: ClassVar[str] = "merge.queued"

    priority: int | None = None


class MergeStarted(MergeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The merge has begun."""

    type: ClassVar[str] = "merge.started"


class MergeCompleted(MergeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work is in the target branch."""

    type: ClassVar[str] = "merge.completed"

    commit: str | None = None


class MergeConflicted(MergeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work could not be merged: these files are in conflict."""

    type: ClassVar[str] = "merge.conflicted"

    conflicting_files: list[str] = []


EVENTS: tuple[type[Event], ...] = (MergeQueued, MergeStarted, MergeCompleted, MergeConflicted)
