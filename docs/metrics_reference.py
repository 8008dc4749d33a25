"""Writes the reference of the metrics from what the services register. `make docs` runs it."""

from itertools import chain
from pathlib import Path
from types import ModuleType

from prometheus_client.metrics import MetricWrapperBase

from hivewire_agent_gateway import metrics as agent_gateway
from hivewire_broker import metrics as broker
from hivewire_conversation import metrics as conversation
from hivewire_service import metrics as chassis
from hivewire_tick_engine import metrics as tick_engine

PAGE = Path(__file__).with_name("metrics.md")
INTRODUCTION = """\
# Metrics

Each service serves its metrics at `/metrics` of its own port (`HIVEWIRE_METRICS_PORT`); `hivewire up` prints where. Written
by `make docs` from what the services register. Units are seconds and bytes, and no label holds an id.

Gauges of the queue, agents, sessions, streams and disks are told by the owner of a service alone, and taken when somebody
asks; what cannot be had then is absent. So over several instances of a service take `max by (...)` of a gauge and
`sum by (...)` of a rate. Rules and alerts on them are in [deploy/prometheus](../deploy/prometheus).
"""
SECTIONS = {
    "Every service": chassis,
    "Broker": broker,
    "Agent gateway": agent_gateway,
    "Conversation": conversation,
    "Tick engine": tick_engine,
}


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(f"\n## {title}\n\n{_table(module)}" for title, module in SECTIONS.items())


def metrics_of(module: ModuleType) -> list[MetricWrapperBase]:
    """The metrics that a module registers."""
    return [found for found in vars(module).values() if isinstance(found, MetricWrapperBase)]


def names() -> set[str]:
    """Every name under which Prometheus stores something of the services."""
    return set(chain.from_iterable(_stored(metric) for module in SECTIONS.values() for metric in metrics_of(module)))


def _stored(metric: MetricWrapperBase) -> list[str]:
    (family,) = metric.describe()
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
    return [family.name + suffix for suffix in suffixes]


def _table(module: ModuleType) -> str:
    lines = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for metric in metrics_of(module):
        (family,) = metric.describe()
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(metric._labelnames)  # noqa: SLF001 - told in no other way before the first sample
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
