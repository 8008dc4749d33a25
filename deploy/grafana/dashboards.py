"""Writes the Grafana dashboards. `make docs` runs it; the JSON beside it is what Grafana reads."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("dashboards")
COLUMNS = 24
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True)
class Panel:
    """One picture: what it shows by legend, and in which unit."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


P99 = "histogram_quantile(0.99, sum by (le{by}) (rate({name}_bucket[$__rate_interval])))"
P50 = P99.replace("0.99", "0.5")


def quantiles(name: str, by: str = "") -> dict[str, str]:
    """The median and the 99th percentile of a histogram, by one more label."""
    legend, more = (f"{{{{{by}}}}} ", f", {by}") if by else ("", "")
    return {
        f"{legend}p50": P50.format(name=name, by=more),
        f"{legend}p99": P99.format(name=name, by=more),
    }


def rate(name: str, by: str, **labels: str) -> dict[str, str]:
    """How much a counter grows a second, by a label."""
    chosen = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return {f"{{{{{by}}}}}": f"sum by ({by}) (rate({name}{{{chosen}}}[$__rate_interval]))"}


OPERATOR = (
    Panel("Alerts", {"{{alertname}}": 'ALERTS{alertname=~"Hivewire.*", alertstate="firing"}'}, kind="table", width=24),
    Panel("Ready", {"": 'sum(hivewire:queue_tasks{state="ready"})'}, kind="stat", width=4),
    Panel("Waiting", {"": 'sum(hivewire:queue_tasks{state="waiting"})'}, kind="stat", width=4),
    Panel("With agents", {"": 'sum(hivewire:queue_tasks{state=~"assigned|running"})'}, kind="stat", width=4),
    Panel("To approve", {"": 'sum(hivewire:queue_tasks{state="pending_approval"})'}, kind="stat", width=4),
    Panel("Dead letters", {"": "sum(max by (status) (hivewire_dead_letters))"}, kind="stat", width=4),
    Panel("Agents there", {"": 'sum(hivewire:agents{state="present"})'}, kind="stat", width=4),
    Panel("Tasks that ended", {"{{status}}": "hivewire:task_ends:rate1m"}, unit="ops"),
    Panel("Tasks that have not", {"{{state}}": "sum by (state) (hivewire:queue_tasks)"}, stacked=True),
    Panel(
        "Oldest ready task",
        {"priority {{priority}}": 'max by (priority) (hivewire_queue_oldest_age_seconds{state="ready"})'},
        "s",
    ),
    Panel("From acceptance to assignment", quantiles("hivewire_task_assign_seconds"), "s"),
    Panel("Attempts that are repeated", rate("hivewire_task_retries_total", "ended"), "ops"),
    Panel("Questions without an answer", {"{{state}}": "max by (state) (hivewire_conversations)"}),
)
AGENTS = (
    Panel("Agents", {"{{state}} {{kind}}": "hivewire:agents"}, stacked=True, width=12),
    Panel("Longest silence of an agent that is there", {"": "max(hivewire_heartbeat_age_seconds)"}, "s", width=12),
    Panel(
        "Attempts that ended",
        {"{{outcome}}": "sum by (outcome) (rate(hivewire_attempt_seconds_count[$__rate_interval]))"},
        "ops",
    ),
    Panel("How long attempts took", quantiles("hivewire_attempt_seconds", "outcome"), "s"),
    Panel("Attempts that wait for answers", {"": "max(hivewire_waiting_attempts)"}),
    Panel("How long questions were open", quantiles("hivewire_conversation_seconds", "outcome"), "s"),
    Panel("Sessions", {"{{state}}": "max by (state) (hivewire_sessions)"}, stacked=True),
    Panel("From a session's acceptance to its dispatch", quantiles("hivewire_session_dispatch_seconds"), "s"),
    Panel("Sessions without an answer", {"": "sum(rate(hivewire_session_timeouts_total[$__rate_interval]))"}, "ops"),
    Panel("WebSocket bridges and posts", {"bridges": "sum(hivewire_bridges)", "posts": "sum(hivewire_posts)"}),
    Panel("Ticks", {"": "sum(rate(hivewire_ticks_total[$__rate_interval]))"}, "ops"),
    Panel("Messages of simulations", rate("hivewire_tick_messages_total", "outcome"), "ops"),
    Panel("Simulations", {"{{status}}": "max by (status) (hivewire_simulations)"}),
)
INTERNALS = (
    Panel("Owners", {"{{service}}": "hivewire:owners"}),
    Panel("Epoch of the lease", {"{{service}}": "max by (service) (hivewire_lease_epoch)"}),
    Panel("Time in which nothing could be heard", rate("hivewire_silence_seconds_total", "service"), "s"),
    Panel(
        "Commands",
        {"{{service}} {{verb}}": "sum by (service, verb) (rate(hivewire_commands_total[$__rate_interval]))"},
        "ops",
    ),
    Panel("Commands that are not decided", {"{{service}}": "hivewire:commands_waiting"}),
    Panel("Commands in one commit", {"{{service}}": "hivewire:batch_commands:mean"}),
    Panel("Time of a commit", quantiles("hivewire_commit_seconds", "service"), "s"),
    Panel("Time of a tick", quantiles("hivewire_tick_seconds"), "s"),
    Panel("Events", rate("hivewire_events_total", "service"), "ops"),
    Panel("Events that are not on the bus", {"{{service}}": "hivewire:publish_backlog_events"}),
    Panel(
        "Events behind which a service follows",
        {"{{service}} of {{writer}}": "max by (service, writer) (hivewire_follow_lag_events)"},
    ),
    Panel("Messages that could not be taken", rate("hivewire_rejects_total", "service"), "ops"),
    Panel("Reads", {"{{query}}": "sum by (query) (rate(hivewire_reads_total[$__rate_interval]))"}, "ops"),
    Panel("Time of a read", quantiles("hivewire_read_seconds", "query"), "s"),
    Panel(
        "HTTP requests",
        {"{{route}} {{status}}": "sum by (route, status) (rate(hivewire_http_requests_total[$__rate_interval]))"},
        "ops",
    ),
    Panel("Time of an HTTP request", quantiles("hivewire_http_request_seconds", "route"), "s"),
    Panel("Streams", {"{{stream}}": "max by (stream) (hivewire_stream_bytes)"}, "bytes"),
    Panel("JetStream's store", {"{{stream}}": "hivewire:store_used_ratio"}, "percentunit"),
    Panel("Disk of the data directory", {"used": "hivewire:data_used_ratio"}, "percentunit"),
)
DASHBOARDS = {"operator": OPERATOR, "agents": AGENTS, "internals": INTERNALS}


def text(name: str) -> str:
    """A dashboard as Grafana reads it."""
    dashboard = {
        "uid": f"hivewire-{name}",
        "title": f"hivewire: {name}",
        "tags": ["hivewire"],
        "schemaVersion": 41,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": _placed(DASHBOARDS[name]),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """From left to right, in rows."""
    placed = []
    x = y = height = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + height
        height = HEIGHT // 2 if panel.kind == "stat" else HEIGHT
        place = {"x": x, "y": y, "w": panel.width, "h": height}
        placed.append(_panel(number, panel, place))
        x += panel.width
    return placed


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 20} if panel.stacked else {}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
    }


if __name__ == "__main__":
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))
