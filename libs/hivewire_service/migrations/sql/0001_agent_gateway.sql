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
    changed_at         timestamptz NOT NULL
) WITH (fillfactor = 80);
