-- name: history_from
SELECT history_from FROM position WHERE service = $1

-- name: let_go_history
UPDATE position SET history_from = $2 WHERE service = $1 AND (history_from IS NULL OR history_from < $2)

-- name: entities_before
SELECT DISTINCT entity_id
FROM event
WHERE writer = $1 AND starts_with(type, $2) AND recorded_at >= coalesce($3::timestamptz, '-infinity') AND recorded_at < $4
  AND entity_id > $5
ORDER BY entity_id
LIMIT $6

-- name: snapshots_since
SELECT entity_id
FROM event
WHERE entity_id = ANY($1::text[]) AND type = $2 AND recorded_at >= $3 AND (data::json ->> 'as_of')::timestamptz >= $3

-- name: snapshots
SELECT DISTINCT ON (entity_id, type) seq, type, data
FROM event
WHERE writer = $1 AND type = ANY($2::text[])
ORDER BY entity_id, type, seq DESC

-- name: history
SELECT seq, type, entity_id, data
FROM event
WHERE writer = $1 AND NOT type = ANY($2::text[]) AND ($3::text[] IS NULL OR type = ANY($3))
ORDER BY seq
