-- Questions and messages between agents, and who may talk to whom.

CREATE TABLE conversation (
    conversation_id text PRIMARY KEY,
    thread          text NOT NULL,          -- the first conversation of the thread
    asker           text NOT NULL,
    target          text NOT NULL,          -- whom the asker named
    agent_id        text NOT NULL,          -- who that is
    resolution      text NOT NULL,          -- why this agent
    question        text NOT NULL,          -- JSON, kept as it was sent
    asked_at        timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    task_id         text,                   -- the asker's attempt that waits
    attempt         integer,
    state           text NOT NULL CHECK (state IN (
                        'asked', 'delivered', 'answered', 'expired', 'withdrawn', 'undeliverable')),
    answer          text,                   -- JSON, kept as it was sent
    reason          text,
    delivered_at    timestamptz,
    ended_at        timestamptz,
    received_at     timestamptz             -- when the asker learned how it ended
) WITH (fillfactor = 75);

CREATE INDEX conversation_live ON conversation (asked_at) WHERE ended_at IS NULL;
CREATE INDEX conversation_unreceived ON conversation (ended_at) WHERE received_at IS NULL AND state <> 'withdrawn';
CREATE INDEX conversation_by_age ON conversation (asked_at, conversation_id);
CREATE INDEX conversation_by_asker ON conversation (asker, asked_at);
CREATE INDEX conversation_by_agent ON conversation (agent_id, asked_at);
CREATE INDEX conversation_by_thread ON conversation (thread, asked_at);
CREATE INDEX conversation_ended ON conversation (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE message (
    message_id text PRIMARY KEY,
    sender     text NOT NULL,
    target     text NOT NULL,
    agent_id   text NOT NULL,
    resolution text NOT NULL,
    content    text NOT NULL,               -- JSON, kept as it was sent
    sent_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state      text NOT NULL CHECK (state IN ('sent', 'delivered', 'undeliverable')),
    reason     text,
    ended_at   timestamptz
) WITH (fillfactor = 75);

CREATE INDEX message_live ON message (sent_at) WHERE ended_at IS NULL;
CREATE INDEX message_ended ON message (ended_at) WHERE ended_at IS NOT NULL;

-- For each attempt that ever waited for answers: what it waits for now, and the time for which it was paused before.
CREATE TABLE conversation_wait (
    task_id       text NOT NULL,
    attempt       integer NOT NULL,
    agent_id      text NOT NULL,
    questions     text NOT NULL,            -- JSON; an empty list: it waits no more
    paused_s      double precision NOT NULL,
    waiting_since timestamptz,
    pause_until   timestamptz,
    PRIMARY KEY (task_id, attempt)
) WITH (fillfactor = 75);

CREATE TABLE communication_graph (
    graph_id text PRIMARY KEY,
    spec     text NOT NULL                  -- JSON
);
