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
    answers_while_busy boolean NOT NULL    -- answers questions although every slot is taken
) WITH (fillfactor = 80);

-- By what events from outside are recognised when they come again. Kept as long as the events themselves.
CREATE TABLE foreign_event (
    publisher   text NOT NULL,
    event_id    text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (publisher, event_id)
);
CREATE INDEX foreign_event_by_age ON foreign_event (recorded_at);
