-- name: insert_tasks
INSERT INTO task (
    task_id, ordinal,
    title, sender, owner, content_hash, created_at, idempotency_key, description, required_capabilities, priority,
    timeout_seconds, start_timeout_seconds, max_retries, backoff, source, parent_task_id, metadata, labels, depends_on,
    on_dependency_failure, phase_id, type, category, requires_approval, payload, not_before, risk, complexity,
    verifiability, reversibility, files, concurrency_key, max_concurrent, correlationid, traceparent,
    status, queued, unmatched, attempt, agent_id, retries_used, lost_count, retry_at, blocked_by, reason, error,
    progress, progress_message, deadline, started_at, ended_at, result, feedback, waits_for,
    waits_until, updated_at
)
SELECT
    task_id, ordinal,
    title, sender, owner, content_hash, created_at, idempotency_key, description, required_capabilities::text[],
    priority, timeout_seconds, start_timeout_seconds, max_retries, backoff, source, parent_task_id, metadata,
    labels::jsonb, depends_on::text[], on_dependency_failure, phase_id, type, category, requires_approval, payload,
    not_before, risk, complexity, verifiability, reversibility, files::text[], concurrency_key, max_concurrent,
    correlationid, traceparent,
    status, queued, unmatched, attempt, agent_id, retries_used, lost_count, retry_at, blocked_by, reason, error,
    progress, progress_message, deadline, started_at, ended_at, result, feedback, waits_for,
    waits_until, $1
FROM unnest(
    $2::text[], $3::bigint[],
    $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::text[], $10::text[], $11::text[],
    $12::smallint[], $13::float8[], $14::float8[], $15::integer[], $16::text[], $17::text[], $18::text[], $19::text[],
    $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::text[], $26::boolean[], $27::text[],
    $28::timestamptz[], $29::float8[], $30::float8[], $31::float8[], $32::float8[], $33::text[], $34::text[],
    $35::integer[], $36::text[], $37::text[],
    $38::text[], $39::boolean[], $40::boolean[], $41::integer[], $42::text[], $43::integer[], $44::integer[],
    $45::timestamptz[], $46::text[], $47::text[], $48::text[], $49::float8[], $50::text[], $51::timestamptz[],
    $52::timestamptz[], $53::timestamptz[], $54::text[], $55::text[], $56::text[], $57::timestamptz[]
) AS new (
    task_id, ordinal,
    title, sender, owner, content_hash, created_at, idempotency_key, description, required_capabilities, priority,
    timeout_seconds, start_timeout_seconds, max_retries, backoff, source, parent_task_id, metadata, labels, depends_on,
    on_dependency_failure, phase_id, type, category, requires_approval, payload, not_before, risk, complexity,
    verifiability, reversibility, files, concurrency_key, max_concurrent, correlationid, traceparent,
    status, queued, unmatched, attempt, agent_id, retries_used, lost_count, retry_at, blocked_by, reason, error,
    progress, progress_message, deadline, started_at, ended_at, result, feedback, waits_for,
    waits_until
)

-- name: insert_dependencies
INSERT INTO task_dependency (task_id, depends_on_id)
SELECT task_id, depends_on_id FROM unnest($1::text[], $2::text[]) AS new (task_id, depends_on_id)

-- name: drop_dependencies
DELETE FROM task_dependency
WHERE task_id = ANY($1::text[])
  AND (task_id, depends_on_id) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))

-- name: add_dependencies
INSERT INTO task_dependency (task_id, depends_on_id)
SELECT task_id, depends_on_id FROM unnest($1::text[], $2::text[]) AS new (task_id, depends_on_id)
ON CONFLICT DO NOTHING

-- name: update_tasks
UPDATE task SET
    status = new.status, queued = new.queued, unmatched = new.unmatched, attempt = new.attempt,
    agent_id = new.agent_id, retries_used = new.retries_used, lost_count = new.lost_count, retry_at = new.retry_at,
    blocked_by = new.blocked_by, reason = new.reason, error = new.error, progress = new.progress,
    progress_message = new.progress_message, deadline = new.deadline, started_at = new.started_at,
    ended_at = new.ended_at,
    -- what waits for approval is kept until somebody has decided
    result = CASE new.status WHEN 'pending_approval' THEN coalesce(new.result, task.result) ELSE new.result END,
    feedback = new.feedback, waits_for = new.waits_for, waits_until = new.waits_until,
    priority = coalesce(new.priority, task.priority),
    timeout_seconds = coalesce(new.timeout_seconds, task.timeout_seconds),
    labels = coalesce(new.labels::jsonb, task.labels),
    metadata = coalesce(new.metadata, task.metadata),
    depends_on = coalesce(new.depends_on::text[], task.depends_on),
    updated_at = $1
FROM unnest(
    $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::integer[], $7::text[], $8::integer[], $9::integer[],
    $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::float8[], $15::text[], $16::timestamptz[],
    $17::timestamptz[], $18::timestamptz[], $19::text[], $20::text[], $21::text[], $22::timestamptz[],
    $23::smallint[], $24::float8[], $25::text[], $26::text[], $27::text[]
) AS new (
    task_id, status, queued, unmatched, attempt, agent_id, retries_used, lost_count, retry_at, blocked_by, reason,
    error, progress, progress_message, deadline, started_at, ended_at, result, feedback, waits_for, waits_until,
    priority, timeout_seconds, labels, metadata, depends_on
)
WHERE task.task_id = new.task_id

-- name: insert_attempts
INSERT INTO attempt (
    task_id, attempt, agent_id, instance, assigned_at, score, reason, oversight, decision,
    status, started_at, ended_at, error, cost
)
SELECT
    task_id, attempt, agent_id, instance, assigned_at, score, reason, oversight, decision,
    status, started_at, ended_at, error, cost
FROM unnest(
    $1::text[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[], $6::float8[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::float8[]
) AS new (
    task_id, attempt, agent_id, instance, assigned_at, score, reason, oversight, decision,
    status, started_at, ended_at, error, cost
)

-- name: update_attempts
UPDATE attempt
SET status = new.status, started_at = new.started_at, ended_at = new.ended_at, error = new.error, cost = new.cost
FROM unnest($1::text[], $2::integer[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::float8[])
    AS new (task_id, attempt, status, started_at, ended_at, error, cost)
WHERE attempt.task_id = new.task_id AND attempt.attempt = new.attempt

-- name: write_histories
INSERT INTO agent_history (agent_id, completed, ended, run_us, cost, costed, last_assigned_us)
SELECT agent_id, completed, ended, run_us, cost, costed, last_assigned_us
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::float8[], $6::bigint[], $7::bigint[])
    AS new (agent_id, completed, ended, run_us, cost, costed, last_assigned_us)
ON CONFLICT (agent_id) DO UPDATE SET
    completed = excluded.completed,
    ended = excluded.ended,
    run_us = excluded.run_us,
    cost = excluded.cost,
    costed = excluded.costed,
    last_assigned_us = excluded.last_assigned_us

-- name: insert_initiatives
INSERT INTO initiative (
    initiative_id, ordinal, title, sender, content_hash, created_at, description, requires_approval, metadata, status,
    ended_at
)
SELECT
    initiative_id, ordinal, title, sender, content_hash, created_at, description, requires_approval, metadata, status,
    ended_at
FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::boolean[],
    $9::text[], $10::text[], $11::timestamptz[]
) AS new (
    initiative_id, ordinal, title, sender, content_hash, created_at, description, requires_approval, metadata, status,
    ended_at
)

-- name: update_initiatives
UPDATE initiative SET status = new.status, ended_at = new.ended_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS new (initiative_id, status, ended_at)
WHERE initiative.initiative_id = new.initiative_id

-- name: insert_phases
INSERT INTO phase (
    phase_id, ordinal, title, sender, content_hash, created_at, initiative_id, description, metadata,
    depends_on, status, approved, queued, reason, blocked_by, started_at, ended_at
)
SELECT
    phase_id, ordinal, title, sender, content_hash, created_at, initiative_id, description, metadata,
    depends_on::text[], status, approved, queued, reason, blocked_by, started_at, ended_at
FROM unnest(
    $1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::boolean[], $13::boolean[], $14::text[], $15::text[],
    $16::timestamptz[], $17::timestamptz[]
) AS new (
    phase_id, ordinal, title, sender, content_hash, created_at, initiative_id, description, metadata,
    depends_on, status, approved, queued, reason, blocked_by, started_at, ended_at
)

-- name: update_phases
UPDATE phase SET
    depends_on = new.depends_on::text[], status = new.status, approved = new.approved, queued = new.queued,
    reason = new.reason, blocked_by = new.blocked_by, started_at = new.started_at, ended_at = new.ended_at
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[], $6::text[], $7::text[], $8::timestamptz[],
    $9::timestamptz[]
) AS new (phase_id, depends_on, status, approved, queued, reason, blocked_by, started_at, ended_at)
WHERE phase.phase_id = new.phase_id

-- name: load_initiatives
SELECT initiative_id, ordinal, content_hash, requires_approval, status, ended_at FROM initiative ORDER BY ordinal

-- name: load_phases
SELECT phase_id, ordinal, content_hash, initiative_id, depends_on, status, approved, queued, reason, blocked_by,
       started_at, ended_at
FROM phase
ORDER BY ordinal

-- name: bad_tasks_of_phases
SELECT phase_id, task_id
FROM task
WHERE phase_id IS NOT NULL AND ended_at IS NOT NULL AND status <> 'completed'
ORDER BY ended_at, ordinal

-- name: completed_tasks_of_phases
SELECT phase_id, count(*) AS tasks
FROM task
WHERE phase_id IS NOT NULL AND ended_at IS NOT NULL AND status = 'completed'
GROUP BY phase_id

-- name: results_pending_approval
SELECT task_id, result FROM task WHERE task_id = ANY($1::text[]) AND status = 'pending_approval'

-- name: load_live
SELECT * FROM task_state WHERE ended_at IS NULL AND ordinal > $1 ORDER BY ordinal LIMIT $2

-- name: load_all
SELECT * FROM task_state WHERE ordinal > $1 ORDER BY ordinal LIMIT $2

-- name: load_ended
SELECT * FROM task_state WHERE task_id = ANY($1::text[]) AND ended_at IS NOT NULL

-- name: bad_ancestors
-- What ended without success and can be reached from these tasks over dependencies that are not completed.
WITH RECURSIVE reached (task_id) AS (
    SELECT unnest($1::text[])
    UNION
    SELECT task_dependency.depends_on_id
    FROM reached
    JOIN task USING (task_id)
    JOIN task_dependency USING (task_id)
    WHERE task.status <> 'completed'
)
SELECT task_id
FROM reached
JOIN task USING (task_id)
WHERE ended_at IS NOT NULL AND status <> 'completed'

-- name: unmet_dependencies_of_live
SELECT DISTINCT dependency.task_id
FROM task AS live
JOIN task_dependency USING (task_id)
JOIN task AS dependency ON dependency.task_id = task_dependency.depends_on_id
WHERE live.ended_at IS NULL AND dependency.ended_at IS NOT NULL AND dependency.status <> 'completed'

-- name: load_attempts
SELECT task_id, attempt, agent_id, instance, status, assigned_at, started_at, ended_at, error, oversight, cost
FROM attempt
WHERE task_id = ANY($1::text[])
ORDER BY task_id, attempt

-- name: load_histories
SELECT agent_id, completed, ended, run_us, cost, costed, last_assigned_us FROM agent_history

-- name: last_ordinal
SELECT coalesce(max(ordinal), 0) FROM task

-- name: load_agents
SELECT agent_id, instance, state, drained, capabilities, slots, owner, policy, wake FROM agent

-- name: load_waits
SELECT wait.agent_id, wait.task_id, wait.attempt, wait.paused_s, wait.waiting_since, wait.pause_until
FROM conversation_wait AS wait
JOIN attempt USING (task_id, attempt)
WHERE attempt.ended_at IS NULL

-- name: contents
SELECT task_id, title, sender, owner, content_hash, created_at, idempotency_key, description, required_capabilities,
       priority, timeout_seconds, start_timeout_seconds, max_retries, backoff, source, parent_task_id, metadata, labels,
       depends_on, on_dependency_failure, phase_id, type, category, requires_approval, payload, not_before, deadline,
       risk, complexity, verifiability, reversibility, files, concurrency_key, max_concurrent, correlationid, traceparent, result
FROM task
WHERE task_id = ANY($1::text[])

-- name: task
SELECT * FROM task WHERE task_id = $1

-- name: attempts
SELECT task_id, attempt, agent_id, instance, status, assigned_at, started_at, ended_at, error, score, reason, oversight,
       cost
FROM attempt
WHERE task_id = $1
ORDER BY attempt

-- name: tasks
SELECT *
FROM task
WHERE ($1::bigint IS NULL OR ordinal < $1)
  AND ($2::text[] IS NULL OR status = ANY($2))
  AND ($3::text IS NULL OR owner = $3)
  AND ($4::text IS NULL OR source = $4)
  AND ($5::text IS NULL OR agent_id = $5 AND task_id IN (SELECT task_id FROM attempt WHERE agent_id = $5))
  AND ($6::text IS NULL OR phase_id = $6)
  AND ($7::jsonb IS NULL OR labels @> $7 AND labels <> '{}')
  AND ($8::text[] IS NULL OR task_id = ANY($8))
  AND (NOT $9::boolean OR ended_at IS NULL)
ORDER BY ordinal DESC
LIMIT $10

-- name: dead_tasks
SELECT * FROM task WHERE dead AND ($1::bigint IS NULL OR ordinal < $1) ORDER BY ordinal DESC LIMIT $2

-- name: queue_counts
SELECT count(*) FILTER (WHERE status = 'pending' AND NOT ready) AS queued,
       count(*) FILTER (WHERE status = 'pending' AND ready) AS ready,
       count(*) FILTER (WHERE status = 'blocked') AS blocked
FROM (
    SELECT status,
           queued AND (attempt > 0 OR NOT (starts_with(type, 'checkpoint:') OR category = ANY($1::text[])))
           AND (not_before IS NULL OR not_before <= now()) AND (retry_at IS NULL OR retry_at <= now())
           AND (depends_on = '{}' OR NOT EXISTS (
               SELECT FROM task_dependency
               JOIN task AS dependency ON dependency.task_id = task_dependency.depends_on_id
               WHERE task_dependency.task_id = task.task_id AND dependency.status <> 'completed'
           )) AS ready
    FROM task
    WHERE ended_at IS NULL AND status IN ('pending', 'blocked')
) AS waiting

-- name: stock
SELECT priority::text, state, count(*) AS tasks,
       greatest(0, extract(epoch FROM now() - min(since)))::float8 AS oldest_s
FROM (
    SELECT priority, CASE
               WHEN status <> 'pending' THEN status
               WHEN queued AND (attempt > 0 OR NOT (starts_with(type, 'checkpoint:') OR category = ANY($1::text[])))
                    AND (not_before IS NULL OR not_before <= now()) AND (retry_at IS NULL OR retry_at <= now())
                    AND coalesce(needed.completed, true) THEN 'ready'
               ELSE 'waiting'
           END AS state,
           CASE
               WHEN status <> 'pending' OR phase_id IS NOT NULL THEN updated_at
               ELSE greatest(created_at, not_before, retry_at, needed.ended_at)
           END AS since
    FROM task
    LEFT JOIN LATERAL (
        SELECT bool_and(dependency.status = 'completed') AS completed, max(dependency.ended_at) AS ended_at
        FROM task_dependency
        JOIN task AS dependency ON dependency.task_id = task_dependency.depends_on_id
        WHERE task_dependency.task_id = task.task_id
    ) AS needed ON depends_on <> '{}'
    WHERE task.ended_at IS NULL
) AS live
GROUP BY priority, state

-- name: dead_counts
SELECT status, count(*) AS tasks FROM task WHERE dead GROUP BY status

-- name: queue_head
SELECT task.*, place
FROM task, LATERAL (
    SELECT (extract(epoch FROM created_at) * 1000000)::bigint - priority * $4::bigint AS place
) AS ranked
WHERE ended_at IS NULL AND status IN ('pending', 'blocked')
  AND ($1::bigint IS NULL OR (place, ordinal) > ($1, $2::bigint))
ORDER BY place, ordinal
LIMIT $3

-- name: next
SELECT task.*
FROM task
WHERE ended_at IS NULL AND status = 'pending' AND queued
  AND (attempt > 0 OR NOT (starts_with(type, 'checkpoint:') OR category = ANY($1::text[])))
  AND (not_before IS NULL OR not_before <= now()) AND (retry_at IS NULL OR retry_at <= now())
  AND NOT EXISTS (
      SELECT FROM task_dependency
      JOIN task AS dependency ON dependency.task_id = task_dependency.depends_on_id
      WHERE task_dependency.task_id = task.task_id AND dependency.status <> 'completed'
  )
ORDER BY (extract(epoch FROM created_at) * 1000000)::bigint - priority * $2::bigint, ordinal
LIMIT 1

-- name: phase_page
SELECT * FROM phase
WHERE ($1::bigint IS NULL OR ordinal < $1) AND ($2::text IS NULL OR initiative_id = $2)
ORDER BY ordinal DESC
LIMIT $3

-- name: phase
SELECT * FROM phase WHERE phase_id = $1

-- name: phases_of_initiative
SELECT * FROM phase WHERE initiative_id = $1 ORDER BY ordinal

-- name: waiting_phases
SELECT phase.*, NOT EXISTS (
    SELECT FROM phase AS needed WHERE needed.phase_id = ANY(phase.depends_on) AND needed.status <> 'completed'
) AS ready
FROM phase
WHERE status IN ('pending', 'blocked') AND approved AND ($1::text IS NULL OR initiative_id = $1)
ORDER BY ordinal
LIMIT $2

-- name: tasks_of_phases
SELECT phase_id, status, count(*) AS tasks FROM task WHERE phase_id = ANY($1::text[]) GROUP BY phase_id, status

-- name: initiative_page
SELECT * FROM initiative WHERE $1::bigint IS NULL OR ordinal < $1 ORDER BY ordinal DESC LIMIT $2

-- name: initiative
SELECT * FROM initiative WHERE initiative_id = $1

-- name: decision
SELECT task_id, attempt, agent_id, assigned_at, reason, oversight, decision
FROM attempt
WHERE task_id = $1 AND ($2::integer IS NULL OR attempt = $2)
ORDER BY attempt DESC
LIMIT 1

-- name: decisions
SELECT agent_id, assigned_at, decision, attempt.task_id, attempt.attempt,
       extract(epoch FROM ended_at - coalesce(started_at, assigned_at))::float8 AS run_s
FROM attempt
WHERE decision IS NOT NULL AND (assigned_at, task_id, attempt) > ($1, $2::text, $3::integer)
ORDER BY assigned_at, task_id, attempt
LIMIT $4

-- name: slots
SELECT agent_id, slots FROM agent

-- name: first_unmet_dependency
SELECT dependency.task_id, dependency.status, count(*) OVER () AS unmet
FROM task
JOIN task AS dependency ON dependency.task_id = ANY(task.depends_on)
WHERE task.task_id = $1 AND dependency.status <> 'completed'
ORDER BY dependency.status IN ('failed', 'dead_lettered', 'cancelled') DESC, dependency.ordinal
LIMIT 1

-- name: held_of_key
SELECT count(*) FROM task WHERE ended_at IS NULL AND status IN ('assigned', 'running') AND concurrency_key = $1

-- name: agents_with_load
SELECT agent_id, instance, state, drained, capabilities, slots, owner, policy, wake,
       coalesce(load.busy, 0) AS busy
FROM agent
LEFT JOIN (SELECT agent_id, count(*) AS busy FROM attempt WHERE ended_at IS NULL GROUP BY agent_id) AS load
    USING (agent_id)

-- name: counts
SELECT status, count(*) AS tasks,
       avg(extract(epoch FROM ended_at - created_at)::float8)
           FILTER (WHERE status = 'completed' AND ended_at > now() - interval '1 day') AS completion_s
FROM task
GROUP BY status

-- name: agent_counts
SELECT state, count(*) AS agents FROM agent GROUP BY state

-- name: live_at
SELECT task_id, ordinal FROM task WHERE ended_at IS NULL AND created_at <= $1
UNION ALL
SELECT task_id, ordinal FROM task WHERE ended_at > $1 AND created_at <= $1

-- name: completed_at
SELECT task_id FROM task WHERE task_id = ANY($1::text[]) AND status = 'completed' AND ended_at <= $2

-- name: events_of
SELECT seq, entity_id, recorded_at, type, data
FROM event
WHERE writer = $1 AND entity_id = ANY($2::text[]) AND starts_with(type, 'task.')
  AND (recorded_at <= $3 OR type = 'task.snapshot')
ORDER BY seq

-- name: events_through
SELECT seq, entity_id, recorded_at, type, data
FROM event
WHERE writer = $1 AND entity_id = ANY($2::text[]) AND starts_with(type, 'task.')
  AND (seq <= $3 OR type = 'task.snapshot')
ORDER BY seq

-- name: ordinals
SELECT task_id, ordinal FROM task WHERE task_id = ANY($1::text[])

-- name: kept_texts
SELECT task_id, payload, result FROM task WHERE task_id = ANY($1::text[])

-- name: expired_tasks
SELECT task_id
FROM task
WHERE ended_at < $1
  -- ordinals are not used again
  AND ordinal < (SELECT max(ordinal) FROM task)
  AND (phase_id IS NULL OR phase_id IN (SELECT phase_id FROM phase WHERE status = 'completed'))
  -- what is not there counts as completed
  AND (status = 'completed' OR NOT EXISTS (SELECT FROM task_dependency WHERE depends_on_id = task.task_id))
ORDER BY ended_at
LIMIT $2

-- name: delete_tasks
DELETE FROM task WHERE task_id = ANY($1::text[])

-- name: delete_dependencies
DELETE FROM task_dependency WHERE task_id = ANY($1::text[])

-- name: delete_attempts
DELETE FROM attempt WHERE task_id = ANY($1::text[])

-- name: histories_to_remember
SELECT agent_id
FROM agent_history
WHERE NOT EXISTS (
    SELECT FROM event
    WHERE event.entity_id = agent_history.agent_id AND type = 'agent.remembered' AND recorded_at >= $1
)
LIMIT $2

-- name: history_bounds
SELECT now(), min(lower_bound)
FROM (
    SELECT substring(pg_get_expr(relpartbound, pg_class.oid) FROM $$FROM \('([^']+)'\)$$)::timestamptz AS lower_bound
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'event'::regclass
) AS partition
