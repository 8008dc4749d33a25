"""The metrics that every service has. No label ever holds an id, so the number of series is bounded."""

from prometheus_client import Counter, Gauge, Histogram

COMMANDS = Counter("hivewire_commands_total", "Commands decided.", ["service", "verb", "outcome"])
EVENTS = Counter("hivewire_events_total", "Events committed.", ["service", "type"])
REJECTS = Counter("hivewire_rejects_total", "Messages that could not be taken.", ["service"])
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
LEASE_OWNER = Gauge("hivewire_lease_owner", "1 while this process owns the service.", ["service"])
LEASE_EPOCH = Gauge("hivewire_lease_epoch", "The epoch of the last lease held.", ["service"])
COMMANDS_WAITING = Gauge("hivewire_commands_waiting", "Commands in the stream behind the last one read.", ["service"])
PUBLISH_BACKLOG = Gauge("hivewire_publish_backlog_events", "Committed events not known to be on the bus.", ["service"])
SILENCE_SECONDS = Counter("hivewire_silence_seconds_total", "Time in which nothing could be heard.", ["service"])
READS = Counter("hivewire_reads_total", "Reads answered.", ["service", "query", "outcome"])
READ_SECONDS = Histogram("hivewire_read_seconds", "Time of answering one read.", ["service", "query"])
