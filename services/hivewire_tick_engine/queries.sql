-- name: write_simulations
INSERT INTO simulation (
    simulation_id, title, created_by, forked_from, forked_at, created_at,
    status, run, first_seq, last_seq, tick, waiting, messages, state_hash, config, updated_at
)
SELECT simulation_id, title, created_by, forked_from, forked_at, $1,
       status, run, CASE WHEN first > 0 THEN before.event_seq + first ELSE 0 END, before.event_seq + last,
       tick, waiting, messages, state_hash, config, $1
FROM unnest(
        $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::integer[], $10::bigint[],
        $11::bigint[], $12::bigint[], $13::integer[], $14::bigint[], $15::text[], $16::text[]
    ) AS changed (
        simulation_id, title, created_by, forked_from, forked_at, status, run, first,
        last, tick, waiting, messages, state_hash, config
    ),
    (SELECT event_seq FROM position WHERE service = $2) AS before
ON CONFLICT (simulation_id) DO UPDATE
SET status = excluded.status,
    run = excluded.run,
    -- 0 and the empty text stand for what did not change
    first_seq = CASE WHEN excluded.first_seq > 0 THEN excluded.first_seq ELSE simulation.first_seq END,
    last_seq = excluded.last_seq,
    tick = excluded.tick,
    waiting = excluded.waiting,
    messages = excluded.messages,
    state_hash = excluded.state_hash,
    config = CASE WHEN excluded.config <> '' THEN excluded.config ELSE simulation.config END,
    updated_at = excluded.updated_at

-- name: insert_ticks
INSERT INTO simulation_tick (simulation_id, run, tick, last_seq, state_hash)
SELECT simulation_id, run, tick, before.event_seq + last, state_hash
FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::text[])
        AS new (simulation_id, run, tick, last, state_hash),
    (SELECT event_seq FROM position WHERE service = $1) AS before

-- name: insert_messages
INSERT INTO simulation_message (
    simulation_id, run, number, sender, target, kind, status, sent_tick, delivered_tick, in_reply_to, dispatch_id,
    reason, content
)
SELECT *
FROM unnest(
    $1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
    $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[]
)

-- name: update_messages
UPDATE simulation_message AS message
SET status = changed.status,
    delivered_tick = coalesce(changed.delivered_tick, message.delivered_tick),
    dispatch_id = coalesce(changed.dispatch_id, message.dispatch_id)
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[], $6::text[])
    AS changed (simulation_id, run, number, status, delivered_tick, dispatch_id)
WHERE message.simulation_id = changed.simulation_id
  AND message.run = changed.run
  AND message.number = changed.number

-- name: write_snapshots
INSERT INTO simulation_snapshot (simulation_id, seq, body)
SELECT simulation_id, before.event_seq + last, body
FROM unnest($2::text[], $3::bigint[], $4::text[]) AS new (simulation_id, last, body),
    (SELECT event_seq FROM position WHERE service = $1) AS before
ON CONFLICT (simulation_id) DO UPDATE SET seq = excluded.seq, body = excluded.body

-- name: live
SELECT simulation_id FROM simulation WHERE status <> 'completed'

-- name: load
SELECT simulation.*, snapshot.seq AS snapshot_seq, snapshot.body
FROM simulation
LEFT JOIN simulation_snapshot AS snapshot USING (simulation_id)
WHERE simulation_id = ANY($1::text[])

-- name: known
SELECT simulation_id FROM simulation WHERE simulation_id = ANY($1::text[])

-- name: tick_seqs
SELECT tick, last_seq FROM simulation_tick WHERE simulation_id = $1 AND run = $2 AND tick = ANY($3::bigint[])

-- name: events
SELECT seq, recorded_at, type, causation_id, correlation_id, data
FROM event
WHERE writer = $1 AND entity_id = $2 AND seq > $3 AND seq <= $4 AND ($5::text IS NULL OR type = $5)
ORDER BY seq
LIMIT $6

-- name: find
SELECT * FROM simulation WHERE simulation_id = $1

-- name: list
SELECT * FROM simulation WHERE $1::text IS NULL OR simulation_id < $1 ORDER BY simulation_id DESC LIMIT $2

-- name: registered
SELECT agent_id, endpoint_url, state FROM agent WHERE agent_id = ANY($1::text[])

-- name: open_dispatches
SELECT target, dispatch_id
FROM simulation_message
WHERE simulation_id = $1 AND run = $2 AND status = 'dispatched'
ORDER BY number

-- name: live_sessions
SELECT session.session_id, simulation.run, simulation.tick, simulation.status = 'completed' AS over
FROM session
JOIN simulation USING (simulation_id)
WHERE session.ended_at IS NULL AND session.kind = 'simulation'

-- name: ended_sessions
SELECT session_id, state, response, error
FROM session
WHERE session_id = ANY($1::text[]) AND (ended_at IS NOT NULL OR response IS NOT NULL)

-- name: messages
SELECT *
FROM simulation_message
WHERE simulation_id = $1 AND run = $2 AND number > $3
  AND ($4::text IS NULL OR sender = $4 OR target = $4)
  AND ($5::text IS NULL OR status = $5)
ORDER BY number
LIMIT $6

-- name: traffic
SELECT sender, target,
       count(*) FILTER (WHERE status <> 'blocked') AS passed,
       count(*) FILTER (WHERE status = 'blocked') AS blocked
FROM simulation_message
WHERE simulation_id = $1 AND run = $2
GROUP BY sender, target
ORDER BY sender, target

-- name: all_messages
SELECT simulation_id, run, number, status FROM simulation_message

-- name: has_event
SELECT EXISTS (SELECT FROM event WHERE writer = $1 AND seq = $2)

-- name: behind
SELECT simulation_id
FROM simulation
LEFT JOIN simulation_snapshot AS snapshot USING (simulation_id)
WHERE first_seq <= $1 AND coalesce(snapshot.seq, 0) < $1
LIMIT $2

-- name: known_by_snapshots
SELECT simulation.*, snapshot.seq AS snapshot_seq, snapshot.body
FROM simulation
JOIN simulation_snapshot AS snapshot USING (simulation_id)
WHERE NOT EXISTS (
    SELECT FROM event
    WHERE writer = $1 AND entity_id = simulation.simulation_id AND type = 'simulation.created'
)
