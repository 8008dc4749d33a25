"""The metrics that every service has. No label ever holds an id, so the number of series is bounded."""

from functools import cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

Metric = TypeVar("Metric", Counter, Histogram)


@cache
def series(metric: Metric, *labels: str) -> Metric:
    """A series of a metric, looked up once: with every turn of a loop that would cost more than the counting. Not for what is
    ever cleared."""
    return metric.labels(*labels)


COMMANDS = Counter("hivewire_commands_total", "Commands decided.", ["service", "verb", "outcome"])
EVENTS = Counter("hivewire_events_total", "Events committed.", ["service", "type"])
REJECTS = Counter(
    "hivewire_rejects_total", "Messages and reports that were refused and are among the rejects.", ["service"]
)
OVER_QUOTA = Counter(
    "hivewire_over_quota_total",
    "Commands, reads and beats of senders that send more than they may.",
    ["service", "kind"],
)
TOO_LARGE = Counter("hivewire_too_large_total", "Messages that were too large and not sent.", ["kind"])
BATCH_SIZE = Histogram(
    "hivewire_batch_commands",
    "Commands in one commit.",
    ["service"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
COMMIT_SECONDS = Histogram(
    "hivewire_commit_seconds",
    "Time of one commit in Postgres.",
    ["service"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
LEASE_OWNER = Gauge(
    "hivewire_lease_owner", "1 while this process owns the service and renews its lease, else 0.", ["service"]
)
LEASE_EPOCH = Gauge("hivewire_lease_epoch", "The epoch of the last lease held.", ["service"])
FOLLOW_LAG = Gauge(
    "hivewire_follow_lag_events",
    "Events of another service, the writer, that were in the stream behind the last one read.",
    ["service", "writer"],
)
COMMITS_FENCED = Counter(
    "hivewire_commits_fenced_total", "Commits refused because another owner had taken the lease.", ["service"]
)
SILENCE_SECONDS = Counter("hivewire_silence_seconds_total", "Time in which nothing could be heard.", ["service"])
READS = Counter("hivewire_reads_total", "Reads answered.", ["service", "query", "outcome"])
READ_SECONDS = Histogram("hivewire_read_seconds", "Time of answering one read.", ["service", "query"])

# What only the owner of a service can tell. It is taken when the metrics are asked for; see stock.py.
COMMANDS_WAITING = Gauge("hivewire_commands_waiting", "Commands in the stream that are not decided yet.", ["service"])
PUBLISH_BACKLOG = Gauge("hivewire_publish_backlog_events", "Committed events not known to be on the bus.", ["service"])
STREAM_BYTES = Gauge(
    "hivewire_stream_bytes",
    "What a stream holds: the commands of a service, named like it, or the events.",
    ["service", "stream"],
)
STREAM_LIMIT_BYTES = Gauge(
    "hivewire_stream_limit_bytes",
    "What a stream may hold. A full stream of commands refuses more, a full stream of events drops the oldest.",
    ["service", "stream"],
)
STORE_BYTES = Gauge(
    "hivewire_jetstream_store_bytes", "What all streams of the hive's account hold on disk.", ["service"]
)
STORE_LIMIT_BYTES = Gauge(
    "hivewire_jetstream_store_limit_bytes",
    "What the hive's account may hold on disk; absent where NATS sets no limit.",
    ["service"],
)
DISK_FREE_BYTES = Gauge("hivewire_data_free_bytes", "Free space on the disk of an `up`'s data directory.", ["service"])
DISK_SIZE_BYTES = Gauge("hivewire_data_size_bytes", "Size of the disk of an `up`'s data directory.", ["service"])
