CREATE TABLE agent (
    agent_id           text PRIMARY KEY,
    name               text NOT NULL,
    agent_type         text NOT NULL,
    endpoint_url       text,
    state              text NOT NULL CHECK (state IN ('present', 'lost', 'away')),
    drained            boolean NOT NULL,
    capabilities       text[] NOT NULL,
    slots              integer NOT NULL,
    owner              text,
    policy             text NOT NULL,
    labels             text NOT NULL,      -- JSON
    metadata           text NOT NULL,      -- JSON, kept as it was sent
    instance           text NOT NULL,
    replaced_instances text[] NOT NULL,    -- oldest first
    registered_at      timestamptz NOT NULL,
    changed_at         timestamptz NOT NULL,
    answers_while_busy boolean NOT NULL,   -- answers questions although every slot is taken
    wake               text                -- how it is started while it is away: a URL, or a configured command's name
) WITH (fillfactor = 80);

-- Sessions: every dispatch to a remote agent. Texts that were sent as JSON are kept as they were sent.
CREATE TABLE session (
    session_id          text PRIMARY KEY,
    ordinal             bigint NOT NULL,       -- counts sessions in the order of their creation
    agent_id            text NOT NULL,
    sender              text NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('direct', 'task', 'simulation')),
    state               text NOT NULL CHECK (state IN (
                            'created', 'dispatched', 'running', 'idle',
                            'completed', 'failed', 'timed_out', 'cancelled')),
    content_hash        text NOT NULL,
    created_at          timestamptz NOT NULL,
    timeout_seconds     double precision NOT NULL,
    max_retries         integer NOT NULL,
    retry_delay_seconds double precision NOT NULL,
    external_ref        text,
    completion_action   json NOT NULL,
    batch_id            text,
    batch_max           integer NOT NULL,
    task_id             text,
    task_attempt        integer NOT NULL,
    simulation_id       text,
    attempt             integer NOT NULL,
    instance            text,
    retries_used        integer NOT NULL,
    lost_count          integer NOT NULL,
    retry_at            timestamptz,
    dispatched_at       timestamptz,
    response_hash       text,
    taken               boolean NOT NULL,
    action_tries        integer NOT NULL,
    action_at           timestamptz,
    reported            boolean NOT NULL,
    progress_text       text,
    error               text,
    ended_at            timestamptz,
    content             text NOT NULL,
    context             text NOT NULL,
    response            text,
    usage               text
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX session_by_age ON session (ordinal);
CREATE INDEX session_live ON session (ordinal) WHERE ended_at IS NULL;
CREATE INDEX session_by_ref ON session (external_ref, ordinal) WHERE external_ref IS NOT NULL;
CREATE INDEX session_by_agent ON session (agent_id, ordinal);
CREATE INDEX session_ended ON session (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX session_unreported ON session (ordinal) WHERE kind = 'task' AND NOT reported;

-- Tokens of the HTTP door. Only a hash is kept: a token has 256 bits of its own, so a fast hash is enough.
CREATE TABLE token (
    token_hash text PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX token_by_name ON token (name);

-- The generation of the NATS credentials of each name that any were issued for. All earlier ones are revoked.
CREATE TABLE credential (
    name       text PRIMARY KEY,
    generation integer NOT NULL
);

-- Keys of HMAC signatures, which both sides must know: of each HTTP agent (agent/<id>), and of webhooks.
CREATE TABLE signing_secret (
    name   text PRIMARY KEY,
    secret text NOT NULL
);

-- By what events from outside are recognised when they come again.
CREATE TABLE foreign_event (
    publisher   text NOT NULL,
    event_id    text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (publisher, event_id)
);
CREATE INDEX foreign_event_by_age ON foreign_event (recorded_at);
