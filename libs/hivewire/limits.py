"""Every bound of the wire and of the queue, each with its unit and its reason.

A bound is checked where data enters the hive (SDK, doors and the services' codec), so that everything
behind it can rely on it.
"""

from typing import Final

# --- tokens and names -------------------------------------------------------------------------------
TOKEN_BYTES_MAX: Final = 128
"""Longest subject token. NATS has no bound of its own, but every token is kept in the server's index."""
HIVE_NAME_CHARS_MAX: Final = 31
"""Postgres cuts identifiers at 63 bytes; a hive's name is a schema and the stem of other names."""

# --- messages ---------------------------------------------------------------------------------------
MESSAGE_HEADROOM_BYTES: Final = 64 * 1024
"""Kept free below the server's `max_payload`: headers count against it, and an event that carries a
command's payload is somewhat larger than the command."""
MESSAGE_BYTES_MAX: Final = 1024 * 1024 - MESSAGE_HEADROOM_BYTES
"""Largest command: headers and body, with nats-server's default `max_payload` of 1 MiB."""
BATCH_ITEMS_MAX: Final = 1_000
"""Tasks in one batch submit: one commit must stay short enough for the lease to be renewed beside it."""
REPORTS_MAX: Final = 200
"""Reports in one command, for the same reason."""
INTEGER_DIGITS_MAX: Final = 18
"""Every integer field fits Postgres' bigint."""

YEAR_MIN: Final = 2
YEAR_MAX: Final = 9998
"""Within these any moment can be put into UTC, and a day be added to it or taken from it."""
COMMAND_ID_CHARS_MAX: Final = 256
"""Ids of commands are keys of stored outcomes; Postgres indexes no long ones."""

# --- texts ------------------------------------------------------------------------------------------
TITLE_CHARS_MAX: Final = 500
TEXT_CHARS_MAX: Final = 20_000
"""Descriptions, reasons, progress notes."""
ERROR_CHARS_MAX: Final = 4_000
"""An error's tail says what happened; whole logs belong into the result or elsewhere."""
LABELS_MAX: Final = 64
LABEL_CHARS_MAX: Final = 256

# --- tasks ------------------------------------------------------------------------------------------
CAPABILITIES_MAX: Final = 64
DEPENDENCIES_MAX: Final = 1_000
"""Direct dependencies of one task: a report over a thousand parts is common, over more it wants a tree."""
PRIORITY_MAX: Final = 10
RETRIES_MAX: Final = 100
TIMEOUT_S_MAX: Final = 30 * 24 * 3600.0
"""A month: longer waits are a `not_before` or a new task."""
BACKOFF_S_MAX: Final = 24 * 3600.0
PRIORITY_AGEING_S: Final = 600.0
"""A task that has waited this much longer than another goes before it as if its priority were one higher: what has a low
priority is late, but never starves."""
PHASES_OF_INITIATIVE_MAX: Final = 1_000
"""They are shown, and approved or queued, together."""
LOST_ATTEMPTS_MAX: Final = 3
"""A task whose agents vanish this often probably kills them: it is dead-lettered."""
START_TIMEOUT_S: Final = 60.0
"""From assignment to the report that the handler runs. A dispatch lost on the way is repeated long before."""
TASK_TIMEOUT_S: Final = 300.0
TASK_RETRIES: Final = 3

REPLAY_RATE: Final = 50.0
"""Dead letters a second that a replay opens: a fleet that was down does not get everything at once."""
REPLAY_RATE_MAX: Final = 1_000.0

# --- agents -----------------------------------------------------------------------------------------
SLOTS_MAX: Final = 10_000
BEAT_INTERVAL_S: Final = 5.0
BEATS_MISSED_MAX: Final = 3
"""An agent is lost after this many intervals without a beat, counted only while the gateway listened."""
HELD_MAX: Final = SLOTS_MAX

# --- sessions ---------------------------------------------------------------------------------------
SESSION_TIMEOUT_S: Final = 300.0
SESSIONS_CONCURRENT: Final = 10
"""Direct sessions that are open at a time, overall, for one agent and of one batch, unless set otherwise."""
SESSIONS_OPEN_MAX: Final = 100_000
SESSION_QUEUED_S_MAX: Final = 24 * 3600.0
"""A session whose agent cannot take it for so long ends."""
SESSION_LOST_MAX: Final = 3
"""A session whose agent vanished this often probably makes it vanish: it fails."""
ACTION_TRIES_MAX: Final = 6
"""A completion action that failed this often, with growing pauses over a minute, will not succeed."""
URL_CHARS_MAX: Final = 2_000
DOOR_BEAT_S: Final = 2.0
DOOR_BEATS_MISSED_MAX: Final = 3
"""A door that was not heard of for so many intervals is gone: what it was posting is posted by another."""

# --- conversations ----------------------------------------------------------------------------------
ANSWER_TIMEOUT_S: Final = 300.0
ANSWER_TIMEOUT_S_MAX: Final = 7 * 24 * 3600.0
"""A question that nobody answered in a week has lost its asker."""
PAUSE_S_MAX: Final = 3600.0
"""How long the attempt of a waiting agent is paused at most: then its run timeout goes on by itself."""
QUESTION_BYTES_MAX: Final = 64 * 1024
"""Questions, answers and messages: what is larger belongs into a result or a file."""
OPEN_QUESTIONS_MAX: Final = 1_000
"""Open questions of one asker."""
MESSAGES_WAITING_MAX: Final = 10_000
"""Messages that wait for one agent."""
MESSAGE_KEPT_S: Final = 24 * 3600.0
"""How long a message waits for an agent that is away."""
GRAPH_NODES_MAX: Final = 10_000
GRAPH_EDGES_MAX: Final = 100_000

# --- requests ---------------------------------------------------------------------------------------
REPEAT_FIRST_S: Final = 1.0
REPEAT_MAX_S: Final = 5.0
"""A command without a reply is sent again after these pauses (doubling), with the same id."""
REQUEST_TIMEOUT_S: Final = 30.0
LIST_ITEMS_MAX: Final = 1_000
COMMANDS_PER_SECOND: Final = 6_000.0
"""Commands of one sender to one service, unless set otherwise: more than the busiest client or agent sends for long."""
READS_PER_SECOND: Final = 1_000.0
"""Reads of one sender at one instance of a service, unless set otherwise: near what Postgres answers on two cores."""
BEATS_PER_SECOND: Final = 10.0
"""Beats of one agent: fifty times what it sends."""
TOO_MANY: Final = 429
"""Status of a refusal for the sender's quota. Its detail says under `RETRY_AFTER` in how many seconds to ask again."""
RETRY_AFTER: Final = "retry_after_s"
RETRY_AFTER_S_MAX: Final = 5.0
"""Longest wait that a sender is told, unless one large message costs more."""
OUTCOME_KEPT_S: Final = 24 * 3600.0
"""How long the outcome of a verb without a natural key is kept for repeats."""

# --- HTTP -------------------------------------------------------------------------------------------
HTTP_HEAD_S_MAX: Final = 10.0
"""From when a request is waited for until its head is there; a connection that asks nothing is closed then."""
HTTP_BODY_S_MAX: Final = 60.0
"""From the head to the end of the body: the largest that is taken needs 16 KiB a second."""
HTTP_CONNECTIONS_MAX: Final = 10_000
"""Connections at once, bridges among them, and half as many of one address, which may be a proxy's. Each costs some ten
KiB, and what a request or a slow reader holds. Where the system lets fewer files be open, it is half of those."""
WEBSOCKET_IDLE_FRAMES_MAX: Final = 10_000
"""Pings, pongs and fragments between two whole messages; beyond it they only keep us busy. The largest message may come in
fragments of 100 bytes."""
REGISTER_S_MAX: Final = 10.0
"""Until a bridge has proven who it is."""

# --- streams ----------------------------------------------------------------------------------------
COMMAND_STREAM_BYTES_MAX: Final = 128 * 1024 * 1024
COMMANDS_PER_SENDER_MAX: Final = 20_000
"""Waiting commands of one sender and verb: beyond it the stream refuses that sender, not the others. As ordinary reports
or submits, of 600 bytes, they fill a tenth of the stream, and they are decided in a second or two, which is what a flood
can keep the others waiting. It is three seconds of the quota, and five times what one client has under way."""
EVENT_STREAM_AGE_S_MAX: Final = 30 * 24 * 3600.0
EVENT_STREAM_BYTES_MAX: Final = 1024 * 1024 * 1024
EVENTS_REPUBLISHED_S: Final = 24 * 3600.0
"""History that is put on a new event stream after JetStream lost the old one."""
