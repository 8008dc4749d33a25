"""Events of worktrees, the copies of a repository that agents work in."""

from typing import ClassVar

from hivewire.events.base import Event
from hivewire.events.foreign import ForeignEvent


class WorktreeEvent(ForeignEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all events of worktrees."""

    key: ClassVar[str] = "worktree_id"

    worktree_id: str
    branch: str | None = None


class WorktreeCreated(WorktreeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A worktree was made."""

    type: ClassVar[str] = "worktree.created"

    base_branch: str | None = None
    path: str | None = None


class WorktreeRemoved(WorktreeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A worktree was removed."""

    type: ClassVar[str] = "worktree.removed"


class WorktreeMerged(WorktreeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work in it was merged."""

    type: ClassVar[str] = "worktree.merged"

    target_branch: str | None = None


class WorktreeConflict(WorktreeEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The work in it is in conflict with the target branch."""

    type: ClassVar[str] = "worktree.conflict"

    target_branch: str | None = None
    conflicting_files: list[str] = []


EVENTS: tuple[type[Event], ...] = (WorktreeCreated, WorktreeRemoved, WorktreeMerged, WorktreeConflict)
