"""The dispatch backbone for fleets of AI agents: the contract and the SDK."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hivewire.agent import Agent
    from hivewire.answering import Message, Question
    from hivewire.asking import Answer
    from hivewire.client import Client
    from hivewire.commands.broker import Backoff
    from hivewire.correlation import correlated
    from hivewire.errors import (
        BadUsage,
        HivewireError,
        NoAnswer,
        NotReachable,
        Permanent,
        RefusedError,
        TaskCancelled,
        TaskFailed,
    )
    from hivewire.task import Task, TaskContext, ThreadContext
    from hivewire.task_handle import TaskHandle

__all__ = [
    "Agent",
    "Answer",
    "Backoff",
    "BadUsage",
    "Client",
    "HivewireError",
    "Message",
    "NoAnswer",
    "NotReachable",
    "Permanent",
    "Question",
    "RefusedError",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskFailed",
    "TaskHandle",
    "ThreadContext",
    "correlated",
]

_HOMES = {
    "Agent": "agent",
    "Answer": "asking",
    "Backoff": "commands.broker",
    "Client": "client",
    "Message": "answering",
    "Question": "answering",
    "Task": "task",
    "TaskContext": "task",
    "TaskHandle": "task_handle",
    "ThreadContext": "task",
    "correlated": "correlation",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the services and the command line need only parts of the SDK."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
