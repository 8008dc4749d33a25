-- name: events_oldest_first
SELECT writer, seq, recorded_at, type, entity_id, causation_id, correlation_id, data
FROM event
WHERE ($1::text IS NULL OR entity_id = $1)
  AND ($2::text IS NULL OR type = $2)
  AND ($3::text IS NULL OR starts_with(type, $3))
  AND ($4::timestamptz IS NULL OR recorded_at >= $4)
  AND ($5::timestamptz IS NULL OR recorded_at < $5)
  AND ($6::text IS NULL OR correlation_id = $6)
  AND ($7::timestamptz IS NULL OR (recorded_at, writer, seq) > ($7, $8::text, $9::bigint))
ORDER BY recorded_at, writer, seq
LIMIT $10

-- name: events_newest_first
SELECT writer, seq, recorded_at, type, entity_id, causation_id, correlation_id, data
FROM event
WHERE ($1::text IS NULL OR entity_id = $1)
  AND ($2::text IS NULL OR type = $2)
  AND ($3::text IS NULL OR starts_with(type, $3))
  AND ($4::timestamptz IS NULL OR recorded_at >= $4)
  AND ($5::timestamptz IS NULL OR recorded_at < $5)
  AND ($6::text IS NULL OR correlation_id = $6)
  AND ($7::timestamptz IS NULL OR (recorded_at, writer, seq) < ($7, $8::text, $9::bigint))
ORDER BY recorded_at DESC, writer DESC, seq DESC
LIMIT $10

-- name: rejects
SELECT reject_id, service, subject, sender, reason, count, rejected_at, last_at, body
FROM reject
WHERE $1::bigint IS NULL OR reject_id < $1
ORDER BY reject_id DESC
LIMIT $2

-- name: reject
SELECT reject_id, service, subject, sender, reason, count, rejected_at, last_at, body FROM reject WHERE reject_id = $1
