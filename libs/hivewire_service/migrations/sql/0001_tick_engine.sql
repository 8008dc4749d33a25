-- Simulations: how each stands, what became of its messages, and where its ticks lie in the history.

CREATE TABLE simulation (
    simulation_id text PRIMARY KEY,
    title         text NOT NULL,
    created_by    text NOT NULL,
    forked_from   text,
    forked_at     bigint,
    created_at    timestamptz NOT NULL,
    -- how it stands
    status        text NOT NULL CHECK (status IN ('created', 'configured', 'running', 'paused', 'completed')),
    run           integer NOT NULL,
    first_seq     bigint NOT NULL,      -- number of the present run's first event
    last_seq      bigint NOT NULL,
    tick          bigint NOT NULL,
    waiting       integer NOT NULL,     -- messages that are not delivered yet
    messages      bigint NOT NULL,
    state_hash    text NOT NULL,
    config        text NOT NULL,        -- JSON
    updated_at    timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The state after the event `seq`. The events behind it lead to the present one.
CREATE TABLE simulation_snapshot (
    simulation_id text PRIMARY KEY,
    seq           bigint NOT NULL,
    body          text NOT NULL         -- JSON
);

CREATE TABLE simulation_tick (
    simulation_id text NOT NULL,
    run           integer NOT NULL,
    tick          bigint NOT NULL,
    last_seq      bigint NOT NULL,      -- number of its last event
    state_hash    text NOT NULL,
    PRIMARY KEY (simulation_id, run, tick)
);

CREATE TABLE simulation_message (
    simulation_id  text NOT NULL,
    run            integer NOT NULL,
    number         bigint NOT NULL,
    sender         text NOT NULL,
    target         text NOT NULL,
    kind           text NOT NULL,
    status         text NOT NULL CHECK (status IN (
                       'waiting', 'delivered', 'dispatched', 'answered', 'timed_out', 'blocked', 'dropped')),
    sent_tick      bigint NOT NULL,
    delivered_tick bigint,
    in_reply_to    text,
    dispatch_id    text,
    reason         text,
    content        text NOT NULL,       -- JSON, kept as it was sent
    PRIMARY KEY (simulation_id, run, number)
) WITH (fillfactor = 80);
