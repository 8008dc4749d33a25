"""The table of all routes of the HTTP API."""

from collections.abc import Iterable, Mapping

from hivewire import reads, views
from hivewire.commands import CATALOGUE
from hivewire.subjects import AGENT_GATEWAY, BROKER
from hivewire_agent_gateway.door import agent_routes, event_routes, passed_on, session_routes, task_routes, token_routes
from hivewire_agent_gateway.door.calls import ANYBODY, OPERATORS, Roles, Route
from hivewire_agent_gateway.door.plain import API, commanding, reading

_TASK_VERBS: Mapping[str, tuple[str, Roles]] = {
    "cancel": ("End a task that has not ended", ANYBODY),
    "approve": ("Approve a task that waits for approval", OPERATORS),
    "reject": ("Reject a task that waits for approval", OPERATORS),
    "block": ("Keep a task from being dispatched", ANYBODY),
    "unblock": ("Let a blocked task be dispatched again", ANYBODY),
    "retry": ("Open an ended task again", ANYBODY),
    "queue": ("Queue a task before its phase starts", ANYBODY),
    "dispatch": ("Dispatch a task by name", ANYBODY),
}


def all_routes() -> list[Route]:
    """Every route."""
    return [
        *task_routes.ROUTES,
        *_task_verbs(),
        *agent_routes.ROUTES,
        *session_routes.ROUTES,
        *event_routes.ROUTES,
        *token_routes.ROUTES,
        *passed_on.ROUTES,
        Route(
            "GET",
            f"{API}/queue",
            "What is queued, ready and blocked",
            reading(BROKER, "queue", reads.Listing),
            parameters=reads.Listing,
            answer=views.QueueView,
            tag="queue",
        ),
        Route(
            "GET",
            f"{API}/dead-letters",
            "Tasks that ended failed or dead_lettered",
            reading(BROKER, "dead", reads.Listing),
            parameters=reads.Listing,
            answer=views.Page,
            tag="dead letters",
        ),
        Route(
            "POST",
            f"{API}/dead-letters/{{task_id}}/replay",
            "Open a dead task again, with a fresh retry budget",
            commanding(BROKER, "retry", "task_id"),
            roles=OPERATORS,
            body=CATALOGUE[BROKER]["retry"],
            given=("task_id",),
            answer=views.TaskBrief,
            tag="dead letters",
        ),
        Route(
            "GET",
            f"{API}/rejects",
            "Messages that could not be taken",
            reading(AGENT_GATEWAY, "rejects", reads.Listing),
            parameters=reads.Listing,
            answer=views.Page,
            tag="dead letters",
        ),
        Route(
            "GET",
            f"{API}/stats",
            "Counts by status, queue depth, average completion time",
            reading(BROKER, "stats", reads.Nothing),
            roles=OPERATORS,
            answer=views.Stats,
            tag="queue",
        ),
    ]


def _task_verbs() -> Iterable[Route]:
    """The actions on a task that the broker takes."""
    for verb, (summary, roles) in _TASK_VERBS.items():
        kind = CATALOGUE[BROKER].get(verb)
        if kind is not None:
            yield Route(
                "POST",
                f"{API}/tasks/{{task_id}}/{verb}",
                summary,
                commanding(BROKER, verb, "task_id"),
                roles=roles,
                body=kind,
                given=("task_id",),
                answer=views.TaskBrief,
                tag="tasks",
            )
