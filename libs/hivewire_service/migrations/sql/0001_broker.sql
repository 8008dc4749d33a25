-- Initiatives, phases, tasks with what they depend on, and their attempts.
--
-- Columns that change while a task lives are in no index and no predicate, except `ended_at` and `dead`, which change
-- when it ends: until then its updates stay within their page.

CREATE TABLE initiative (
    initiative_id     text PRIMARY KEY,
    ordinal           bigint NOT NULL,           -- counts initiatives in the order of their creation
    title             text NOT NULL,
    sender            text NOT NULL,
    content_hash      text NOT NULL,
    created_at        timestamptz NOT NULL,
    description       text NOT NULL,
    requires_approval boolean NOT NULL,
    metadata          text NOT NULL,             -- JSON, kept as it was sent
    status            text NOT NULL CHECK (status IN ('active', 'completed')),
    ended_at          timestamptz
);
CREATE UNIQUE INDEX initiative_by_age ON initiative (ordinal);

CREATE TABLE phase (
    phase_id      text PRIMARY KEY,
    ordinal       bigint NOT NULL,               -- counts phases in the order of their creation
    title         text NOT NULL,
    sender        text NOT NULL,
    content_hash  text NOT NULL,
    created_at    timestamptz NOT NULL,
    initiative_id text,
    description   text NOT NULL,
    metadata      text NOT NULL,                 -- JSON, kept as it was sent
    depends_on    text[] NOT NULL,
    status        text NOT NULL CHECK (status IN ('pending', 'running', 'blocked', 'completed')),
    approved      boolean NOT NULL,
    queued        boolean NOT NULL,
    reason        text,
    blocked_by    text,                          -- the task that ended without success
    started_at    timestamptz,
    ended_at      timestamptz
);
CREATE UNIQUE INDEX phase_by_age ON phase (ordinal);
CREATE INDEX phase_by_initiative ON phase (initiative_id, ordinal) WHERE initiative_id IS NOT NULL;

CREATE TABLE task (
    task_id               text PRIMARY KEY,
    ordinal               bigint NOT NULL,       -- counts tasks in the order of their creation
    -- what its sender said
    title                 text NOT NULL,
    sender                text NOT NULL,
    owner                 text NOT NULL,
    content_hash          text NOT NULL,
    created_at            timestamptz NOT NULL,
    idempotency_key       text,
    description           text NOT NULL,
    required_capabilities text[] NOT NULL,       -- lower case, sorted
    priority              smallint NOT NULL,
    timeout_seconds       double precision NOT NULL,
    start_timeout_seconds double precision NOT NULL,
    max_retries           integer NOT NULL,
    backoff               text NOT NULL,         -- JSON
    source                text,
    parent_task_id        text,
    metadata              text NOT NULL,         -- JSON, kept as it was sent
    labels                jsonb NOT NULL,
    depends_on            text[] NOT NULL,
    on_dependency_failure text NOT NULL CHECK (on_dependency_failure IN ('block', 'cancel')),
    phase_id              text,
    type                  text NOT NULL,
    category              text NOT NULL,
    requires_approval     boolean,
    payload               text NOT NULL,         -- JSON, kept as it was sent
    not_before            timestamptz,
    deadline              timestamptz,
    risk                  double precision,
    complexity            double precision,
    verifiability         double precision,
    reversibility         double precision,
    files                 text[] NOT NULL,
    concurrency_key       text,
    max_concurrent        integer,
    correlationid         text,                  -- of the command that submitted it
    traceparent           text,
    -- how it stands
    status                text NOT NULL CHECK (status IN (
                              'pending', 'assigned', 'running', 'pending_approval', 'blocked',
                              'completed', 'failed', 'dead_lettered', 'cancelled')),
    queued                boolean NOT NULL,
    unmatched             boolean NOT NULL,      -- it was reported that nobody could take it
    attempt               integer NOT NULL,      -- how many attempts there were
    agent_id              text,                  -- of the last attempt, unless the task waits for another
    retries_used          integer NOT NULL,
    lost_count            integer NOT NULL,
    retry_at              timestamptz,
    waits_for             text,                  -- the agent that was woken for it
    waits_until           timestamptz,           -- as long as it waits for that agent: until then at most
    blocked_by            text,
    reason                text,
    feedback              text,                  -- what was wrong with the work that was rejected last
    error                 text,
    progress              double precision,
    progress_message      text,
    result                text,                  -- JSON, kept as it was sent
    started_at            timestamptz,
    ended_at              timestamptz,
    updated_at            timestamptz NOT NULL,
    dead                  boolean GENERATED ALWAYS AS (status IN ('failed', 'dead_lettered')) STORED
) WITH (fillfactor = 75);

CREATE UNIQUE INDEX task_by_age ON task (ordinal);
CREATE INDEX task_live ON task (ordinal) WHERE ended_at IS NULL;
CREATE INDEX task_ended ON task (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX task_dead ON task (ordinal) WHERE dead;
CREATE INDEX task_by_owner ON task (owner, ordinal);
CREATE INDEX task_by_source ON task (source, ordinal) WHERE source IS NOT NULL;
CREATE INDEX task_by_phase ON task (phase_id, ordinal) WHERE phase_id IS NOT NULL;
CREATE INDEX task_children ON task (parent_task_id) WHERE parent_task_id IS NOT NULL;
CREATE INDEX task_dead_in_phase ON task (phase_id) WHERE phase_id IS NOT NULL AND ended_at IS NOT NULL;
CREATE INDEX task_labels ON task USING gin (labels jsonb_path_ops) WHERE labels <> '{}';

-- What the broker keeps in memory of a task.
CREATE VIEW task_state AS
SELECT
    task_id, content_hash, ordinal, created_at, owner, required_capabilities, priority, timeout_seconds,
    start_timeout_seconds, max_retries, backoff, on_dependency_failure, phase_id, type, category, requires_approval,
    depends_on, parent_task_id, labels, files, risk, complexity, verifiability, reversibility, concurrency_key,
    max_concurrent, not_before, deadline, status, queued, unmatched, attempt, retries_used, lost_count, retry_at,
    waits_for, waits_until, blocked_by, reason, feedback, error, progress, progress_message, ended_at
FROM task;

CREATE TABLE task_dependency (
    task_id       text NOT NULL,
    depends_on_id text NOT NULL,
    PRIMARY KEY (task_id, depends_on_id)
);
CREATE INDEX task_dependents ON task_dependency (depends_on_id);

CREATE TABLE attempt (
    task_id     text NOT NULL,
    attempt     integer NOT NULL,
    agent_id    text NOT NULL,
    instance    text NOT NULL,
    status      text NOT NULL CHECK (status IN (
                    'assigned', 'running', 'completed', 'failed', 'timed_out', 'lost', 'cancelled')),
    assigned_at timestamptz NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    error       text,
    score       double precision,
    reason      text NOT NULL,
    oversight   text NOT NULL,
    cost        double precision,                -- what its agent said that it took
    decision    text,                            -- JSON: the record of the choice
    PRIMARY KEY (task_id, attempt)
) WITH (fillfactor = 80);
CREATE INDEX attempt_open ON attempt (agent_id) WHERE ended_at IS NULL;
CREATE INDEX attempt_by_time ON attempt (assigned_at, task_id, attempt);
CREATE INDEX attempt_by_agent ON attempt (agent_id, task_id);

-- What the broker has seen of each agent, added up over all attempts ever.
CREATE TABLE agent_history (
    agent_id         text PRIMARY KEY,
    completed        bigint NOT NULL,
    ended            bigint NOT NULL,            -- completed, failed, timed out or lost
    run_us           bigint NOT NULL,            -- microseconds that its completed attempts took
    cost             double precision NOT NULL,  -- of those completed attempts that said what they took
    costed           bigint NOT NULL,            -- how many said so
    last_assigned_us bigint NOT NULL             -- microseconds since 1970
) WITH (fillfactor = 50);

-- Replays of dead letters.
CREATE TABLE replay (
    replay_id  text PRIMARY KEY,
    by         text NOT NULL,
    started_at timestamptz NOT NULL,              -- it replays what ended before
    rate       double precision NOT NULL,         -- tasks a second at most
    owner      text,                              -- the filters
    phase      text,
    error      text,
    reason     text NOT NULL,
    status     text NOT NULL CHECK (status IN ('running', 'completed', 'stopped')),
    place      bigint NOT NULL,                   -- the ordinal of the last task that was tried
    replayed   integer NOT NULL,
    refused    integer NOT NULL,
    ended_at   timestamptz
);
