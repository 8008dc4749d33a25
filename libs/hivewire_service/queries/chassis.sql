-- name: take_lease
WITH before AS (
    SELECT epoch, renewed_at FROM lease WHERE service = $1
)
INSERT INTO lease AS held (service, epoch, owner, renewed_at, expires_at)
VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (service) DO UPDATE
    SET epoch = held.epoch + 1, owner = $2, renewed_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => $3)
    WHERE held.expires_at < clock_timestamp() OR held.owner = $2
RETURNING epoch,
    (SELECT extract(epoch FROM clock_timestamp() - before.renewed_at)::float8 FROM before) AS vacant_s

-- name: renew_lease
UPDATE lease
SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE service = $1 AND epoch = $2

-- name: release_lease
UPDATE lease SET expires_at = clock_timestamp() WHERE service = $1 AND epoch = $2

-- name: hold_lease
SELECT hold_lease($1, $2)

-- name: add_position
INSERT INTO position (service) VALUES ($1) ON CONFLICT DO NOTHING

-- name: read_position
SELECT stream_created, command_seq, command_ns, event_seq, published_seq, event_stream_created
FROM position WHERE service = $1

-- name: write_position
UPDATE position
SET stream_created = $2, command_seq = $3, command_ns = $4, event_seq = $5,
    published_seq = $6, event_stream_created = $7
WHERE service = $1

-- name: insert_events
INSERT INTO event (writer, seq, recorded_at, type, entity_id, causation_id, correlation_id, traceparent, data)
SELECT $1, seq, $2, type, entity_id, causation_id, correlation_id, traceparent, data
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS new (seq, type, entity_id, causation_id, correlation_id, traceparent, data)

-- name: insert_outcomes
INSERT INTO outcome (service, command_id, sender, reply_type, reply, recorded_at)
SELECT $1, command_id, sender, reply_type, reply, $2
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS new (command_id, sender, reply_type, reply)
ON CONFLICT DO NOTHING

-- name: find_outcomes
SELECT known.command_id, known.sender, known.reply_type, known.reply
FROM unnest($2::text[], $3::text[]) AS asked (command_id, sender)
JOIN outcome AS known USING (command_id, sender)
WHERE known.service = $1

-- name: drop_old_outcomes
DELETE FROM outcome
WHERE ctid IN (SELECT ctid FROM outcome WHERE service = $1 AND recorded_at < $2 LIMIT 5000)

-- name: insert_rejects
INSERT INTO reject AS known (service, rejected_at, last_at, subject, sender, reason, body, kind, count, minute)
SELECT $1, $2, $2, subject, sender, reason, body, kind, count, minute
FROM unnest($3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::bigint[], $9::timestamptz[])
    AS new (subject, sender, reason, body, kind, count, minute)
ON CONFLICT (service, sender, kind, minute) DO UPDATE
SET count = known.count + excluded.count, last_at = excluded.last_at

-- name: events_after
SELECT seq, recorded_at, type, entity_id, causation_id, correlation_id, traceparent, data
FROM event
WHERE writer = $1 AND seq > $2 AND seq <= $3
ORDER BY seq
LIMIT $4

-- name: seq_before
SELECT coalesce(min(seq) - 1, $3) FROM event WHERE writer = $1 AND recorded_at >= $2

-- name: drop_old_rejects
DELETE FROM reject
WHERE reject_id IN (SELECT reject_id FROM reject WHERE service = $1 AND rejected_at < $2 LIMIT 5000)

-- name: partitions
SELECT relname, bounds[1]::timestamptz AS first, bounds[2]::timestamptz AS until
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid,
LATERAL (
    SELECT regexp_match(pg_get_expr(relpartbound, inhrelid), $$FROM \('([^']+)'\) TO \('([^']+)'\)$$) AS bounds
) AS range
WHERE inhparent = 'event'::regclass
ORDER BY first

-- name: last_seq_before
SELECT coalesce(max(seq), 0) FROM event WHERE writer = $1 AND recorded_at < $2

-- name: positions
SELECT service, published_seq, history_from FROM position
