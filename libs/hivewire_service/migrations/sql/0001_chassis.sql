-- What every service has: its lease, its place in the command stream, its events, outcomes and rejects.

CREATE TABLE lease (
    service    text PRIMARY KEY,
    epoch      bigint NOT NULL,
    owner      text NOT NULL,
    renewed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Locks the lease row until the end of the transaction, or fails it: whoever lost the lease writes nothing.
-- A plain read would not do: the lease could be taken between the read and the commit.
CREATE FUNCTION hold_lease(wanted_service text, wanted_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM lease WHERE service = wanted_service AND epoch = wanted_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: epoch % is over', wanted_service, wanted_epoch USING ERRCODE = 'HW001';
    END IF;
END
$$;

-- One row a service, written by each of its commits.
CREATE TABLE position (
    service              text PRIMARY KEY,
    -- the last decided command: which stream (by its birth), which message (by number and time)
    stream_created       text,
    command_seq          bigint NOT NULL DEFAULT 0,
    command_ns           bigint NOT NULL DEFAULT 0,
    -- the last event written, and the last one known to be on the bus (of the stream born then)
    event_seq            bigint NOT NULL DEFAULT 0,
    published_seq        bigint NOT NULL DEFAULT 0,
    event_stream_created text,
    -- the service needs no event before this moment: whatever it has a row of follows from the others
    history_from         timestamptz
) WITH (fillfactor = 50);

-- Append-only history, and the outbox: each writer publishes its own rows past its watermark.
CREATE TABLE event (
    writer         text NOT NULL,
    seq            bigint NOT NULL,
    recorded_at    timestamptz NOT NULL,
    type           text NOT NULL,
    entity_id      text NOT NULL,
    causation_id   text,
    correlation_id text,
    traceparent    text,
    data           text NOT NULL,
    PRIMARY KEY (writer, seq, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX event_by_entity ON event (entity_id, recorded_at);
CREATE INDEX event_by_type ON event (type, recorded_at);
CREATE INDEX event_by_correlation ON event (correlation_id) WHERE correlation_id IS NOT NULL;

-- Outcomes of commands without a natural key, for repeats of the same command.
CREATE TABLE outcome (
    service     text NOT NULL,
    command_id  text NOT NULL,
    sender      text NOT NULL,
    reply_type  text NOT NULL,
    reply       text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (service, sender, command_id)
);
CREATE INDEX outcome_by_age ON outcome (recorded_at);

-- Messages that could not be taken, whole.
CREATE TABLE reject (
    reject_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service     text NOT NULL,
    subject     text NOT NULL,
    sender      text NOT NULL,
    reason      text NOT NULL,
    body        bytea NOT NULL,
    rejected_at timestamptz NOT NULL
);
CREATE INDEX reject_by_age ON reject (rejected_at);
