-- name: write_replays
INSERT INTO replay (
    replay_id, by, started_at, rate, owner, phase, error, reason, status, place, replayed, refused, ended_at
)
SELECT replay_id, by, started_at, rate, owner, phase, error, reason, status, place, replayed, refused, ended_at
FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::float8[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::bigint[], $11::integer[], $12::integer[], $13::timestamptz[]
) AS changed (
    replay_id, by, started_at, rate, owner, phase, error, reason, status, place, replayed, refused, ended_at
)
ON CONFLICT (replay_id) DO UPDATE SET
    status = excluded.status, place = excluded.place, replayed = excluded.replayed, refused = excluded.refused,
    ended_at = excluded.ended_at

-- name: load_replays
SELECT replay_id, by, started_at, rate, owner, phase, error, reason, status, place, replayed, refused, ended_at
FROM replay
ORDER BY started_at, replay_id

-- name: replay
SELECT replay_id, by, started_at, rate, owner, phase, error, reason, status, replayed, refused, ended_at, remaining
FROM (
    SELECT replay.*, CASE status WHEN 'running' THEN (
        SELECT count(*) FROM task
        WHERE dead AND task.ordinal > place AND task.ended_at <= started_at
          AND (replay.owner IS NULL OR task.owner = replay.owner)
          AND (phase IS NULL OR phase_id = phase)
          AND (replay.error IS NULL OR strpos(coalesce(task.error, task.reason, ''), replay.error) > 0)
    ) ELSE 0 END AS remaining
    FROM replay
) AS found
WHERE replay_id = $1

-- name: replays
SELECT replay_id, by, started_at, rate, owner, phase, error, reason, status, replayed, refused, ended_at
FROM replay
ORDER BY started_at DESC, replay_id
OFFSET $1 LIMIT $2

-- name: dead_of_replay
SELECT task_id, task.ordinal
FROM task
WHERE dead AND task.ordinal > $1 AND ended_at <= $2
  AND ($3::text IS NULL OR owner = $3)
  AND ($4::text IS NULL OR phase_id = $4)
  AND ($5::text IS NULL OR strpos(coalesce(error, reason, ''), $5) > 0)
ORDER BY task.ordinal
LIMIT $6
